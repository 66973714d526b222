# SPDX-License-Identifier: Apache-2.0
"""What frameworks call the things that a crash test measures: ids, classes, articles and clauses."""

from typing import NamedTuple

ATLAS_VERSION = "5.6.0"
ATLAS = {
    "AML.T0005": "Create Proxy AI Model",
    "AML.T0015": "Evade AI Model",
    "AML.T0020": "Poison Training Data",
    "AML.T0024.000": "Infer Training Data Membership",
    "AML.T0024.001": "Invert AI Model",
    "AML.T0024.002": "Extract AI Model",
    "AML.T0029": "Denial of AI Service",
    "AML.T0040": "AI Model Inference API Access",
    "AML.T0043": "Craft Adversarial Data",
    "AML.T0043.000": "White-Box Optimization",
    "AML.T0043.001": "Black-Box Optimization",
    "AML.T0043.002": "Black-Box Transfer",
    "AML.T0043.004": "Insert Backdoor Trigger",
    "AML.T0044": "Full AI Model Access",
    "AML.T0048.003": "User Harm",
    "AML.M0003": "Model Hardening",
    "AML.M0006": "Use Ensemble Methods",
    "AML.M0008": "Validate AI Model",
    "AML.M0010": "Input Restoration",
    "AML.M0015": "Adversarial Input Detection",
}
FRAMEWORKS = {
    "atlas": f"MITRE ATLAS {ATLAS_VERSION}",
    "nist": "NIST AI 100-2e2025",
    "eu": "Regulation (EU) 2024/1689 (AI Act)",
    "fda": "FDA",
    "iec": "IEC 81001-5-1:2021",
    "iso": "ISO/IEC TR 24029-1:2021",
}
_EVASION = "Art. 15(5), adversarial examples and model evasion"
_FDA = "Section 524B FD&C Act; draft guidance on AI-enabled device software functions (2025), model evasion"
_TESTED = "clause 5.7, security testing"
_EMPIRICAL = "empirical methods"


class Clauses(NamedTuple):
    """What a kind of finding has to do with."""

    title: str
    atlas: tuple[str, ...]
    nist: str
    eu: str
    fda: str
    iec: str
    iso: str


CLAUSES: dict[str, Clauses] = {
    "accuracy": Clauses(
        "Accuracy on clean images",
        ("AML.M0008",),
        "",
        "Art. 15(1) and 15(3), accuracy and its declaration",
        "draft guidance on AI-enabled device software functions (2025), performance validation",
        "",
        "statistical methods",
    ),
    "white_box": Clauses(
        "White-box attacks",
        ("AML.T0015", "AML.T0043.000", "AML.T0044"),
        "Evasion, white-box; integrity violation",
        _EVASION,
        _FDA,
        _TESTED,
        _EMPIRICAL,
    ),
    "transfer": Clauses(
        "Attacks made on another network",
        ("AML.T0015", "AML.T0043.002", "AML.T0005"),
        "Evasion, black-box, transfer; integrity violation",
        _EVASION,
        _FDA,
        _TESTED,
        _EMPIRICAL,
    ),
    "query": Clauses(
        "Query-only attacks",
        ("AML.T0015", "AML.T0043.001", "AML.T0040"),
        "Evasion, black-box, query; integrity violation",
        _EVASION,
        _FDA,
        _TESTED,
        _EMPIRICAL,
    ),
    "other": Clauses(
        "Changes without a pixel budget",
        ("AML.T0015", "AML.T0043"),
        "Evasion; integrity violation",
        _EVASION,
        _FDA,
        _TESTED,
        _EMPIRICAL,
    ),
    "missed": Clauses(
        "Missed findings under attack",
        ("AML.T0015", "AML.T0048.003"),
        "Evasion; integrity violation",
        "Art. 15(4) and 15(5), resilience; adversarial examples and model evasion",
        _FDA,
        "clause 7, security risk management; with ISO 14971",
        _EMPIRICAL,
    ),
    "detection": Clauses(
        "Detection of attacks",
        ("AML.M0015",),
        "Mitigation of evasion",
        "Art. 15(5), measures to detect adversarial examples",
        "Cybersecurity in Medical Devices (2025), event detection and logging",
        _TESTED,
        _EMPIRICAL,
    ),
    "defense": Clauses(
        "What a defence is worth to attackers who know it",
        ("AML.M0010",),
        "Mitigation of evasion, judged adaptively",
        "Art. 15(5), measures to prevent and control adversarial examples",
        "Cybersecurity in Medical Devices (2025), security controls and their testing",
        "clause 5.7, threat mitigation testing",
        _EMPIRICAL,
    ),
    "corruption": Clauses(
        "Corrupted images, without an adversary",
        (),
        "",
        "Art. 15(4), resilience to errors, faults and inconsistencies",
        "draft guidance on AI-enabled device software functions (2025), performance across conditions of use",
        "",
        "statistical and empirical methods",
    ),
    "certified": Clauses(
        "Certified radius",
        ("AML.M0003",),
        "Mitigation of evasion: randomised smoothing",
        _EVASION,
        _FDA,
        _TESTED,
        "statistical methods; compare ISO/IEC 24029-2:2023",
    ),
    "doubts": Clauses(
        "Whether the evaluation can be believed",
        ("AML.M0008",),
        "Evaluation of mitigations",
        "Art. 15(1) to 15(3), accuracy and robustness metrics",
        "draft guidance on AI-enabled device software functions (2025), validation",
        _TESTED,
        "limits of the method",
    ),
}
OUTSIDE: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Data poisoning and backdoors", ("AML.T0020", "AML.T0043.004"), "they happen while a model is trained"),
    (
        "Privacy: membership inference, model inversion, model extraction",
        ("AML.T0024.000", "AML.T0024.001", "AML.T0024.002"),
        "they ask what a model gives away, not whether its answers can be trusted",
    ),
    ("Denial of service", ("AML.T0029",), "it concerns the service around the model"),
)
"""What a platform that tests finished models on images cannot give evidence for."""
