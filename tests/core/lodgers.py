# SPDX-License-Identifier: Apache-2.0
"""What a resident may do, well or badly: functions for a guarded process that stays. Nothing heavy is imported."""

import json
import os
import time

from radproof.core.resident import Desk

SCREENING = {
    "prediction": ["Pneumonia"],
    "confidence": 0.87,
    "probabilities": {"Normal": 0.13, "Pneumonia": 0.87},
    "group": "Pneumonia",
    "verdict": "suspicious",
    "reasons": ["Rough: more unusual than all 40 clean images."],
    "suspicion": {
        "detector": "rough", "score": 3.5, "tail": 0.02, "clean": 40,
        "threshold": {"value": 1.5, "promised": 0.025, "n": 40, "reason": "", "low": 0.0, "high": 0.1},
    },
    "outside": None,
}  # fmt: skip
FIRST = {"phantom": True, "by": "", "grid": "grey images"}


def echoes(requests, answers):
    """Repeats what it is asked."""
    desk = Desk(requests, answers)
    desk.say("ready")
    for asked in desk:
        desk.say(asked)


def does(requests, answers):
    """Does what it is told."""
    desk = Desk(requests, answers)
    for asked in desk:
        match asked["do"]:
            case "leave":
                os._exit(3)
            case "sleep":
                time.sleep(60)
            case "flood":
                desk.say("x" * (1 << 20))
            case "twice":
                desk.say(1)
                desk.say(2)
            case "shut":
                desk._said.close()
                time.sleep(60)
            case "read":
                try:
                    with open(asked["path"]) as stream:
                        desk.say(stream.read())
                except OSError as error:
                    desk.say({"errno": error.errno})


def screens(model, guard, image, threads, requests, answers):
    """What screen_server does, told by the model's file: a JSON list of what to do with each image in turn."""
    desk = Desk(requests, answers)
    with open(model) as told:
        plan = json.load(told)
    if plan == "broken":
        from radproof.errors import BadModel

        raise BadModel("weights.safetensors holds NaN")
    if plan == "nonsense first":
        desk.say({"phantom": "perhaps"})
        time.sleep(60)
    desk.say(FIRST)
    for number, asked in enumerate(desk):
        what = plan[min(number, len(plan) - 1)]
        said = {"number": asked["number"], "screening": SCREENING, "refusal": "", "broken": "", "seconds": 0.1}
        with open(image, "rb") as stream:
            size = len(stream.read())
        if what == "leave":
            os._exit(3)
        if what == "hang":
            time.sleep(60)
        if what == "wait":
            while not os.path.exists(f"{guard}.go"):
                time.sleep(0.01)
        told = {
            "refuse": {"screening": None, "refusal": f"not an image of {size} bytes"},
            "break": {"screening": None, "broken": "the model's answer holds NaN"},
            "misnumber": {"number": 77},
            "infinite": {"seconds": 1e999},
            "escape": {"screening": {**SCREENING, "reasons": ["\x1b[31m<b>red\u202e"], "outside": None}},
        }.get(what, {})
        if what == "infinite":
            os.write(desk._said.fileno(), json.dumps({**said, **told}).encode() + b"\n")
            continue
        desk.say({**said, **told})
