# SPDX-License-Identifier: Apache-2.0
"""What a page says at its top after a form was sent: `?said=CODE`, from this list and nothing else."""

SAID: dict[str, str] = {
    "saved": "Saved.",
    "removed": "Removed.",
    "uploaded": "Uploaded. It is being checked; the outcome appears on this page.",
    "again": "It is tried again; the outcome appears on this page.",
    "renamed": "Renamed.",
    "started": "The assessment was queued.",
    "cancelled": "Cancelling: the batch at work is finished first.",
    "paused": "Pausing: the batch at work is finished first.",
    "resumed": "Going on where it stopped.",
    "retried": "Queued again; finished batches are kept.",
    "prioritised": "The priority was changed.",
    "teaching": "The guard is being taught; the outcome appears on this page.",
    "switched": "You are in another project now.",
    "made": "Made.",
    "added": "Added.",
    "invited": "The invitation was made.",
    "revoked": "Revoked.",
    "disabled": "The account was closed; its sessions and keys no longer work.",
    "enabled": "The account was opened again.",
    "password": "The password was changed; other sessions were signed out.",
    "signed-out": "You are signed out.",
    "welcome": "Welcome. Your account is ready.",
    "answered": "Thank you; your answers were kept.",
}


def said(code: str | None) -> str:
    """The sentence of a code; "" for none and for any other."""
    return SAID.get(code or "", "")
