"""Deploys to AWS and destroys in processes that may be killed (``tests/support/fault_process.py``)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import boto3
import botocore.loaders
from tests.support.aws_stage import AwsStage
from tests.support.fault_process import serve
from tests.support.ministack import REGION

from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle


def main(folder: str, service: str) -> None:
    _read_models_once()
    stages: dict[str, tuple[pipeline.Placement, Bundle]] = {}
    for mark in ("one", "two"):
        stage = AwsStage(Path(folder) / mark, service)
        stage.write(mark)
        placement = stage.place()
        stages[mark] = (placement, stage.bundle(placement))
    serve(stages, enter)


def _read_models_once() -> None:
    """What boto3 reads of its own for every client, which takes longer than the calls do here."""
    loader = botocore.loaders.Loader()
    botocore.loaders.create_loader = lambda *_, **__: loader
    session = boto3.session.Session()
    used = ("cloudformation", "dynamodb", "lambda", "resourcegroupstaggingapi", "s3", "secretsmanager", "sqs", "sts")
    for name in used:
        session.client(name, region_name=REGION)


def enter(placement: pipeline.Placement, endpoint: str) -> pipeline.Placement:
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    return placement


if __name__ == "__main__":
    main(*sys.argv[1:])
