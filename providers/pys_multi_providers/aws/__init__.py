"""Amazon Web Services: one CloudFormation template, Lambda behind an HTTP API, boto3."""
