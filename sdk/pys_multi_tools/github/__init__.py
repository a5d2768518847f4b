"""What the GitHub Action runs: the command line's own commands, told to a workflow, a pull request and GitHub.

    inputs      what the workflow asks for         event       what happened on GitHub
    identity    the workflow's OIDC token          federation  that token, for a cloud's short-lived credentials
    tool        pys-multi itself, as a process     base        the service before the change
    report      Markdown of what was found         comment     one comment of a pull request, kept up to date
    runner      log, annotations, outputs          redaction   what never leaves: secrets, in any of their forms
    client      GitHub's REST API                  commands    the story of each command

The user's code runs only in the processes of ``tool``, which never see the token of GitHub.
"""
