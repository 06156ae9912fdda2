"""Plays a CloudFormation template against moto, in this process: what of the events on standard input, one JSON object a
line with source, detail-type and detail, gets through EventBridge into the queue. Prints their bodies, one a line.
"""

import json
import logging
import os
import sys
import warnings

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
# The policy of the queue and the association with the cluster are nothing to moto, and it says so.
warnings.simplefilter("ignore")
logging.disable()

import boto3
from moto import mock_aws


def stack(template):
    formation = boto3.client("cloudformation")
    formation.create_stack(
        StackName="spotscale", TemplateBody=template, Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": "ClusterName", "ParameterValue": "example"}])
    outputs = formation.describe_stacks(StackName="spotscale")["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def put(event):
    entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
    assert boto3.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def receive(url):
    queue = boto3.client("sqs")
    while messages := queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            print(json.dumps(json.loads(message["Body"])))
            queue.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


with mock_aws(), open(sys.argv[1], encoding="utf-8") as template:
    url = stack(template.read())["QueueUrl"]
    for line in sys.stdin:
        put(json.loads(line))
    receive(url)
