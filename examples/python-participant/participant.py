"""Service C (payment methods) once more, in Python: a participant by docs/participant-protocol.md.

The standard library and a PostgreSQL driver. `Barrier` makes each operation of a step happen at most once, in the
transaction of the business rows; `Payment` is all that another service would write anew.
"""

import json
import math
import os
import queue
import re
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from decimal import Decimal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import pg8000.exceptions
import pg8000.native

MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_RESULT_BYTES = 1_000_000
MAX_DEPTH = 100
NOT_GIVEN = object()
MAX_CONNECTIONS = 16
TYPES = "urn:saga-participant:"


class Problem(Exception):
    """An answer by RFC 9457."""

    def __init__(self, status, kind, detail, headers=None):
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, headers or {}


class Rejected(Exception):
    """The service says no, for good."""


def invalid(detail, status=400, headers=None):
    return Problem(status, "invalid-call", detail, headers)


def late(saga_id, step):
    return Problem(409, "late-invoke", f"{step} of saga {saga_id} has been compensated already; nothing was done")


def kept(result):
    """A result as JSON. Looked at before the commit: one that can't be told is rolled back with its work."""
    text = json.dumps(result, ensure_ascii=False)
    if len(text.encode()) > MAX_RESULT_BYTES:
        raise Problem(422, "invalid-result", f"The result has more than {MAX_RESULT_BYTES} bytes as JSON.")
    return text


def rejection(detail):
    return Problem(422, "rejected", detail)


class Payment:
    """The business: its statements, in the transaction that it is given."""

    def check(self, given):
        if not isinstance(given, dict) or set(given) != {"userId", "payment"}:
            raise invalid("The input must have userId and payment, and nothing else.")
        user_id, payment = given["userId"], given["payment"]
        # A string, for JSON's readers round integers beyond 2^53. Sagas that began before ids were strings bring a number.
        is_id = isinstance(user_id, str) and re.fullmatch(r"[1-9][0-9]{0,18}", user_id) or type(user_id) is int
        if not is_id or not 1 <= int(user_id) < 2**63:
            raise invalid("The input is not right: userId must be a string of digits, from 1.")
        if not isinstance(payment, str) or payment == "":
            raise invalid("The input is not right: payment must be a text that is not empty.")

    def invoke(self, db, saga_id, given):
        if given["payment"].startswith("expired"):
            raise Rejected("a payment method that has expired is refused")
        rows = db.run(
            "INSERT INTO payment_method (user_id, method, saga_id) VALUES (:user, :method, :saga) RETURNING id",
            user=int(given["userId"]),
            method=given["payment"],
            saga=saga_id,
        )
        return {"paymentId": str(rows[0][0])}

    def compensate(self, db, saga_id, given, result):
        db.run("DELETE FROM payment_method WHERE saga_id = :saga", saga=saga_id)

    def verify(self, db, saga_id):
        rows = db.run("SELECT id FROM payment_method WHERE saga_id = :saga", saga=saga_id)
        return [f"payment_method {row[0]}" for row in rows]


class Database:
    """Connections that are lent to one call at a time; one that broke is not lent again."""

    BOUNDS = {"lock_timeout": 3000, "statement_timeout": 4000, "idle_in_transaction_session_timeout": 8000}

    def __init__(self, url):
        parts = urlsplit(url)
        self.options = {
            "user": unquote(parts.username or "postgres"),
            "password": unquote(parts.password) if parts.password else None,
            "host": parts.hostname or "localhost",
            "port": parts.port or 5432,
            "database": unquote(parts.path.lstrip("/")) or None,
            "timeout": 12,
        }
        self.idle = queue.LifoQueue()
        self.free = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def connect(self):
        connection = pg8000.native.Connection(**self.options)
        for name, value in self.BOUNDS.items():
            connection.run(f"SET {name} = {value}")
        return connection

    @contextmanager
    def transaction(self):
        """One READ COMMITTED transaction; any error rolls it back."""
        if not self.free.acquire(timeout=4):
            raise Problem(503, "unavailable", "All database connections are in use.", {"Retry-After": "1"})
        try:
            connection = self.begun()
            try:
                yield connection
                connection.run("COMMIT")
            except BaseException:
                self.roll_back(connection)
                raise
            self.idle.put(connection)
        finally:
            self.free.release()

    def roll_back(self, connection):
        try:
            connection.run("ROLLBACK")
            self.idle.put(connection)
        except (pg8000.exceptions.Error, OSError):
            close(connection)  # with it what was not committed is gone

    def begun(self):
        while True:
            try:
                connection = self.idle.get_nowait()
            except queue.Empty:
                connection = self.connect()
                connection.run("BEGIN")
                return connection
            try:
                connection.run("BEGIN")
                return connection
            except (pg8000.exceptions.Error, OSError):
                close(connection)  # broke while idle: the next one


def is_away(error):
    """Whether PostgreSQL can't be reached now: refused, connection lost, starting up or shutting down."""
    if isinstance(error, pg8000.exceptions.DatabaseError):
        told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        return told.get("C", "").startswith(("57P", "08", "53"))
    return isinstance(error, (pg8000.exceptions.InterfaceError, OSError))


def close(connection):
    try:
        connection.close()
    except (pg8000.exceptions.Error, OSError):
        pass


class Barrier:
    """Each operation of a step at most once: docs/participant-protocol.md, "The barrier"."""

    def __init__(self, database, service):
        self.database, self.service = database, service

    def invoke(self, saga_id, step, given, decisions):
        try:
            with self.database.transaction() as db:
                db.run(
                    """INSERT INTO saga_barrier (saga_id, step, op, input) VALUES (:saga, :step, 'invoke', CAST(:input AS jsonb))
                       ON CONFLICT (saga_id, step, op) DO UPDATE SET input = excluded.input, verdict = NULL, result = NULL
                       WHERE saga_barrier.verdict = 'rejected' AND saga_barrier.decisions < :decisions
                         AND NOT EXISTS (SELECT FROM saga_barrier WHERE saga_id = :saga AND step = :step AND op = 'compensate')""",
                    saga=saga_id,
                    step=step,
                    input=json.dumps(given),
                    decisions=decisions,
                )
                if db.row_count == 0:
                    return self.kept(db, saga_id, step)
                result = self.service.invoke(db, saga_id, given)
                db.run(
                    """UPDATE saga_barrier SET verdict = 'applied', result = CAST(:result AS jsonb)
                       WHERE saga_id = :saga AND step = :step AND op = 'invoke'""",
                    result=kept(result),
                    saga=saga_id,
                    step=step,
                )
                return {"verdict": "applied", "result": result}
        except Rejected as refusal:
            # It rolled its own row back with the business; what stands there now is the answer.
            return self.keep_refusal(saga_id, step, given, decisions, str(refusal))

    def kept(self, db, saga_id, step):
        """What an invoke finds whose row was there already."""
        rows = db.run(
            "SELECT op, verdict, result FROM saga_barrier WHERE saga_id = :saga AND step = :step",
            saga=saga_id,
            step=step,
        )
        if any(op == "compensate" for op, _, _ in rows):
            raise late(saga_id, step)
        _, verdict, result = rows[0]
        if verdict == "rejected":
            raise rejection(result["message"])
        return {"verdict": "duplicate", "result": result}

    def keep_refusal(self, saga_id, step, given, decisions, message):
        with self.database.transaction() as db:
            db.run(
                """INSERT INTO saga_barrier (saga_id, step, op, input, verdict, result, decisions)
                   VALUES (:saga, :step, 'invoke', CAST(:input AS jsonb), 'rejected', CAST(:result AS jsonb), :decisions)
                   ON CONFLICT (saga_id, step, op) DO UPDATE
                   SET input = excluded.input, result = excluded.result, decisions = excluded.decisions
                   WHERE saga_barrier.verdict = 'rejected' AND saga_barrier.decisions < excluded.decisions""",
                saga=saga_id,
                step=step,
                input=json.dumps(given),
                result=json.dumps({"message": message}),
                decisions=decisions,
            )
            if db.row_count == 0:
                return self.kept(db, saga_id, step)
        raise rejection(message)

    def compensate(self, saga_id, step, corrected):
        with self.database.transaction() as db:
            db.run(
                """INSERT INTO saga_barrier (saga_id, step, op) VALUES (:saga, :step, 'compensate')
                   ON CONFLICT DO NOTHING""",
                saga=saga_id,
                step=step,
            )
            if db.row_count == 0:
                rows = db.run(
                    "SELECT verdict FROM saga_barrier WHERE saga_id = :saga AND step = :step AND op = 'compensate'",
                    saga=saga_id,
                    step=step,
                )
                return {"verdict": rows[0][0]}
            verdict = "empty"
            if not self.entomb(db, saga_id, step):
                [[kept_verdict, given, result]] = db.run(
                    "SELECT verdict, input, result FROM saga_barrier WHERE saga_id = :saga AND step = :step AND op = 'invoke'",
                    saga=saga_id,
                    step=step,
                )
                if kept_verdict == "applied":
                    self.service.compensate(db, saga_id, given if corrected is NOT_GIVEN else corrected, result)
                    verdict = "done"
            db.run(
                """UPDATE saga_barrier SET verdict = :verdict
                   WHERE saga_id = :saga AND step = :step AND op = 'compensate'""",
                verdict=verdict,
                saga=saga_id,
                step=step,
            )
            return {"verdict": verdict}

    def entomb(self, db, saga_id, step):
        """Takes the invoke's place before looking: one that is still in its transaction is waited for, one that comes later
        finds the tombstone. So it does in the place of a refusal, which might be asked for again meanwhile."""
        db.run(
            """INSERT INTO saga_barrier (saga_id, step, op, verdict) VALUES (:saga, :step, 'invoke', 'tombstone')
               ON CONFLICT (saga_id, step, op) DO UPDATE SET verdict = 'tombstone'
               WHERE saga_barrier.verdict = 'rejected'""",
            saga=saga_id,
            step=step,
        )
        return db.row_count == 1

    def forbid(self, saga_id, step):
        with self.database.transaction() as db:
            db.run(
                """INSERT INTO saga_barrier (saga_id, step, op, verdict) VALUES (:saga, :step, 'compensate', 'forbidden')
                   ON CONFLICT DO NOTHING""",
                saga=saga_id,
                step=step,
            )
            self.entomb(db, saga_id, step)
            return {}

    def verify(self, saga_id):
        with self.database.transaction() as db:
            return {"left": self.service.verify(db, saga_id)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30  # an idle connection; the worker closes its own after 4 s
    barrier = None  # set by main

    OPERATIONS = {
        "/invoke": ({"input"}, {"decisions"}),
        "/compensate": (set(), {"input"}),
        "/forbid": (set(), set()),
        "/verify": (set(), set()),
    }

    def do_GET(self):
        self.handle_call("GET")

    def do_POST(self):
        self.handle_call("POST")

    def do_PUT(self):
        self.handle_call("PUT")

    def do_DELETE(self):
        self.handle_call("DELETE")

    def handle_call(self, method):
        self.is_read = False
        try:
            answer = self.dispatch(method, self.path.split("?")[0])
            self.send(200, "application/json", answer)
        except Problem as problem:
            self.send_problem(problem)
        except Exception as error:  # what broke stays in this process's log
            print(f"a call failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if is_away(error):
                self.send_problem(Problem(503, "unavailable", "The database is away.", {"Retry-After": "1"}))
            else:
                self.send_problem(Problem(500, "outcome-unknown", "Something went wrong in the participant."))

    def dispatch(self, method, path):
        known = "GET" if path == "/health" else "POST" if path in self.OPERATIONS else None
        if known is None:
            raise invalid("There is no such operation.", 404)
        if method != known:
            raise invalid(f"{method} is not possible here; {known} is.", 405, {"Allow": known})
        if self.headers.get("Origin") is not None:
            raise invalid("Calls from web pages are refused.", 403)
        if path == "/health":
            with self.barrier.database.transaction() as db:
                db.run("SELECT 1")
            return {"status": "ok"}
        body = self.read_body(*self.OPERATIONS[path])
        saga_id, step = self.name("Saga-Id"), self.name("Saga-Step")
        if path == "/verify":
            return self.barrier.verify(saga_id)
        if path == "/forbid":
            return self.barrier.forbid(saga_id, step)
        if "input" in body:
            self.barrier.service.check(body["input"])
        if path == "/compensate":
            return self.barrier.compensate(saga_id, step, body.get("input", NOT_GIVEN))
        decisions = body.get("decisions", 0)
        if type(decisions) is not int or not 0 <= decisions < 2**31:
            raise invalid("The body is not right: decisions must be a number from 0.")
        return self.barrier.invoke(saga_id, step, body["input"], decisions)

    def name(self, header):
        values = self.headers.get_all(header) or []
        wrong = invalid(f"The header {header} must have 1–255 characters, percent-encoded.")
        if len(values) != 1 or not re.fullmatch(r"[A-Za-z0-9_\-.~!*'()%]+", values[0]):
            raise wrong
        if re.search(r"%(?![0-9A-Fa-f]{2})", values[0]):
            raise wrong
        try:
            name = unquote_to_bytes(values[0]).decode("utf-8")
        except UnicodeDecodeError:
            raise wrong from None
        if len(name) > 255 or re.search(r"[\x00-\x1f\x7f-\x9f]", name):
            raise wrong
        return name

    def read_body(self, required, optional):
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,10}", length):
            raise invalid("The call must say how long its body is.", 411)
        if int(length) > MAX_BODY_BYTES:
            raise invalid(f"The body has more than {MAX_BODY_BYTES} bytes.", 413)
        raw = self.rfile.read(int(length))
        self.is_read = True
        if self.headers.get_content_type() != "application/json":
            raise invalid("Send the body as application/json.", 415)
        try:
            body = json.loads(
                raw.decode("utf-8"), parse_constant=refuse_constant, parse_int=exact_int, parse_float=exact_float
            )
            # As PostgreSQL keeps it: no NUL, no half characters.
            if "\x00" in flat(body):
                raise ValueError("NUL")
            flat(body).encode("utf-8")
        except (ValueError, ArithmeticError, RecursionError):
            raise invalid("The body is not valid JSON that can be kept.") from None
        if not isinstance(body, dict):
            raise invalid("The body is not right: it must be an object.")
        for field in required - set(body):
            raise invalid(f"The body is not right: {field} is missing.")
        # Also failures to inject, which this participant does not do: nothing that was meant to count is passed over.
        for field in set(body) - required - optional:
            kind = "injection-refused" if field == "injection" else "invalid-call"
            raise Problem(403 if field == "injection" else 400, kind, f"{field[:100]} is not a field of this.")
        return body

    def send_problem(self, problem):
        body = {
            "type": TYPES + problem.kind,
            "title": HTTPStatus(problem.status).phrase,
            "status": problem.status,
            "detail": problem.detail,
        }
        # What is left of a body that was not read would be taken for the next call.
        headers = problem.headers if self.is_read else {**problem.headers, "Connection": "close"}
        self.send(problem.status, "application/problem+json", body, headers)
        if not self.is_read:
            self.linger()

    def linger(self):
        """Reads on for a moment: with something unread the connection would be reset, perhaps before the answer is read."""
        self.connection.settimeout(1)
        try:
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(64):
                if not self.rfile.read1(65_536):
                    break
        except OSError:
            pass  # gone, or it sends no more

    def send(self, status, kind, body, headers=None):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args):
        pass


def refuse_constant(name):
    raise ValueError(name)


def exact_int(digits):
    """Python holds it exactly, but not every reader of what is kept of it."""
    if abs(Decimal(digits)) >= 2**53:
        raise ValueError("an integer that loses digits")
    return int(digits)


def exact_float(digits):
    number = float(digits)
    if not math.isfinite(number) or Decimal(digits) != Decimal(repr(number)) or abs(number) >= 2**53:
        raise ValueError("a number that loses digits")
    return number


def flat(value, depth=0):
    """All texts of a JSON value, keys too. Raises ValueError where it is nested too deeply."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(key + flat(one, depth + 1) for key, one in value.items())
    if isinstance(value, list):
        return "".join(flat(one, depth + 1) for one in value)
    return ""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main():
    database = Database(os.environ["DATABASE_URL"])
    with database.transaction() as db:
        for statement in (Path(__file__).parent / "schema.sql").read_text().split(";"):
            if statement.strip():
                db.run(statement)
    Handler.barrier = Barrier(database, Payment())
    server = Server((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5003"))), Handler)
    # shutdown() waits for serve_forever, which runs in this very thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(json.dumps({"url": f"http://{server.server_address[0]}:{server.server_port}"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
