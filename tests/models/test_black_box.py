import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from radproof.errors import BadModel
from radproof.models import black_box
from radproof.models.black_box import BlackBox, endpoint
from radproof.models.blueprint import Blueprint

X = np.linspace(0, 1, 3 * 1 * 16 * 16, dtype=np.float32).reshape(3, 1, 16, 16)


def blueprint(labels=("a", "b"), **more):
    return Blueprint(
        architecture="endpoint", labels=labels, input_size=16, channels=1, mean=(0.5,), std=(0.25,), hidden=0, **more
    )


@contextmanager
def serving(answer):
    """A service at a free port; `answer(handler, question)` writes what it likes. Yields its address and questions."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body)))
            try:
                answer(self, asked[-1][1])
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def send(handler, told, code=200, **headers):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    handler.send_response(code)
    for name, value in {"Content-Length": len(body), **headers}.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


def brightness(question):
    """Two logits of prepared pixels."""
    if "instances" in question:
        x = np.array(question["instances"])
    else:
        (told,) = question["inputs"]
        x = np.array(told["data"]).reshape(told["shape"])
    mean = x.mean((1, 2, 3))
    return np.stack([-mean, mean], 1)


def v2(table):
    table = np.asarray(table)
    return {"outputs": [{"name": "o", "datatype": "FP32", "shape": list(table.shape), "data": table.ravel().tolist()}]}


def ask(url, protocol="v2", timeout=5.0):
    return endpoint(url, protocol, timeout=timeout, pause=0.0)(X)


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_both_protocols(protocol):
    def answer(handler, question):
        table = brightness(question)
        send(handler, {"predictions": table.tolist()} if protocol == "v1" else v2(table))

    with serving(answer) as (url, asked):
        model = BlackBox(endpoint(url + "/m", protocol), blueprint(), gives="logits", identity=url, micro_batch=2)
        logits = model(torch.from_numpy(X))
    expected = (X.mean((1, 2, 3)) - 0.5) / 0.25
    assert np.allclose(logits.numpy(), np.stack([-expected, expected], 1), atol=1e-5)
    assert [path for path, _ in asked] == ["/m", "/m"]
    if protocol == "v2":
        (told,) = asked[0][1]["inputs"]
        assert told["shape"] == [2, 1, 16, 16] and told["datatype"] == "FP32" and len(told["data"]) == 512
    else:
        assert np.shape(asked[1][1]["instances"]) == (1, 1, 16, 16)


def test_a_service_that_recovers_is_asked_again():
    left = [503, 500]
    with serving(lambda h, q: send(h, {}, left.pop()) if left else send(h, v2(brightness(q)))) as (url, asked):
        assert ask(url).shape == (3, 2)
    assert len(asked) == 3


@pytest.mark.parametrize(("code", "times"), [(500, 3), (404, 1), (400, 1)])
def test_errors_are_told_with_their_code(code, times):
    with serving(lambda h, _: send(h, b"no", code)) as (url, asked), pytest.raises(BadModel, match=f"answers {code}"):
        ask(url)
    assert len(asked) == times


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(code):
    with (
        serving(lambda h, q: send(h, v2(brightness(q)))) as (other, reached),
        serving(lambda h, _: send(h, b"", code, Location=other + "/elsewhere")) as (url, _),
        pytest.raises(BadModel, match=f"answers {code}"),
    ):
        ask(url)
    assert not reached


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    with (
        serving(lambda h, q: send(h, v2(brightness(q)))) as (url, asked),
        serving(lambda h, _: send(h, b"")) as (p, to),
    ):
        monkeypatch.setenv("http_proxy", p)
        monkeypatch.setenv("no_proxy", "")
        ask(url)
    assert len(asked) == 1 and not to


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"null", b"{}", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"predictions": 1e999',
        b'{"outputs": []}', b'{"outputs": [{"data": [1, 2]}]}', b'{"outputs": [{"data": [1, 2], "shape": [3, 2]}]}',
        b'{"outputs": [{"data": [1], "shape": "x"}]}', b'{"outputs": [{"data": [1], "shape": [1e9, 1e9]}]}',
        b'{"predictions": [[1, 2], [3]]}', b'{"predictions": [{"logits": [1, 2]}]}',
        b'{"predictions": {"a": 1}}', b'{"outputs": {"data": [1]}}', b'{"predictions": null}',
    ],
)  # fmt: skip
def test_what_is_no_answer_of_the_protocol(protocol, body):
    with serving(lambda h, _: send(h, body)) as (url, _), pytest.raises(BadModel, match="none of protocol"):
        ask(url, protocol)


@pytest.mark.parametrize(
    ("table", "gives", "said"),
    [
        ([[1.0, 2.0, 3.0]] * 3, "logits", r"shape \(3, 3\), expected \(3, 2\)"),
        ([[1.0, 2.0]] * 2, "logits", r"shape \(2, 2\), expected \(3, 2\)"),
        ([[[1.0, 2.0]]] * 3, "logits", r"shape \(3, 1, 2\), expected"),
        (1.0, "logits", r"shape \(\), expected"),
        ([[float("nan"), 0.0]] * 3, "logits", "NaN or infinity"),
        ([[float("inf"), 0.0]] * 3, "logits", "NaN or infinity"),
        ([[1e400, 0.0]] * 3, "logits", "NaN or infinity"),
        ([[3.0, -2.0]] * 3, "probabilities", "for logits say gives='logits'"),
        ([[0.9, 0.9]] * 3, "probabilities", "miss a sum of 1"),
        ([["x", "y"]] * 3, "logits", "expected a table of numbers"),
        ([5, 0, 1], "labels", "class 5, expected 0 to 1"),
        (["c", "a", "a"], "labels", "answers 'c', which is none of its labels"),
    ],
)
def test_answers_that_do_not_fit_the_classes(table, gives, said):
    with serving(lambda h, _: send(h, {"predictions": table})) as (url, _):
        model = BlackBox(endpoint(url, "v1"), blueprint(), gives=gives, identity=url)
        with pytest.raises(BadModel, match=said):
            model(torch.from_numpy(X))


@pytest.mark.parametrize("told", [[0, 1, 1], [0.0, 1.0, 1.0], [[0], [1], [1]], ["a", "b", "b"]])
def test_labels_by_number_or_name(told):
    with serving(lambda h, _: send(h, {"predictions": told})) as (url, _):
        logits = BlackBox(endpoint(url, "v1"), blueprint(), gives="labels", identity=url)(torch.from_numpy(X))
    assert logits.argmax(1).tolist() == [0, 1, 1]


@pytest.mark.parametrize(("gives", "told"), [("probabilities", [0.2, 0.7, 0.5]), ("logits", [-1.0, 2.0, 0.0])])
@pytest.mark.parametrize("column", [False, True])
def test_one_number_per_image_is_the_second_class(gives, told, column):
    table = [[value] for value in told] if column else told
    with serving(lambda h, _: send(h, {"predictions": table})) as (url, _):
        logits = BlackBox(endpoint(url, "v1"), blueprint(), gives=gives, identity=url)(torch.from_numpy(X))
    apart = (logits[:, 1] - logits[:, 0]).numpy()
    told = np.array(told)
    assert np.allclose(apart, np.log(told / (1 - told)) if gives == "probabilities" else told)


def test_a_huge_answer_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(black_box, "MOST_BYTES", 100_000)
    body = b"[" + b"1," * 200_000
    with serving(lambda h, _: send(h, body)) as (url, _), pytest.raises(BadModel, match="over 100,000 bytes"):
        ask(url)


def dripping(handler, _, pause=0.02):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(pause)


def test_an_endless_answer_is_given_up():
    with serving(dripping) as (url, asked), pytest.raises(BadModel, match=r"does not answer .*no end"):
        ask(url, timeout=0.1)
    assert len(asked) == 3


def test_silence_is_given_up():
    with serving(lambda *_: time.sleep(1)) as (url, _), pytest.raises(BadModel, match=r"does not answer .*timed out"):
        ask(url, timeout=0.1)


def cut_short(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"predictions"')
    handler.close_connection = True


def garbled(handler, _):
    handler.wfile.write(b"\x1b[2J nonsense\r\n\r\n")
    handler.close_connection = True


@pytest.mark.parametrize("answer", [cut_short, garbled, lambda h, _: setattr(h, "close_connection", True)])
def test_a_broken_connection_is_told(answer):
    with serving(answer) as (url, _), pytest.raises(BadModel, match="does not answer") as caught:
        ask(url)
    assert str(caught.value).isprintable()


def test_a_services_words_cannot_steer_a_terminal():
    def answer(handler, _):
        handler.send_response(418, "\x1b[2Jtea")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(answer) as (url, _), pytest.raises(BadModel, match="answers 418") as caught:
        ask(url)
    assert str(caught.value).isprintable()


def test_nobody_there():
    with serving(dripping) as (url, _):
        pass
    with pytest.raises(BadModel, match=r"127\.0\.0\.1 does not answer .*check that it runs"):
        ask(url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x", "file:///etc/passwd", "host/x", "http://", "http:///x", "http://me:secret@host/x",
        "http://host:99999/x", "http://host:port/x", "http://ho st/x", "http://host/x\r\nHeader: y", "http://[::1/x",
        "",
    ],
)  # fmt: skip
def test_what_is_no_address(url):
    with pytest.raises(BadModel, match="an endpoint is http://HOST/PATH"):
        endpoint(url)


def test_the_fingerprint_tells_what_is_asked_and_how():
    def of(identity="a", **more):
        return BlackBox(lambda x: x, blueprint(**more), gives="logits", identity=identity).fingerprint()

    assert of() == of() != of("b")
    assert of() != of(range=(0.0, 255.0))


def test_no_gradient_is_offered():
    model = BlackBox(lambda x: np.zeros((len(x), 2)), blueprint(), gives="logits", identity="")
    assert not model(torch.from_numpy(X).requires_grad_()).requires_grad
