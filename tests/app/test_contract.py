"""The service does what its OpenAPI document says, whatever it is sent: schemathesis tries it.

Every check and every phase, the links from one operation to the next too, against a real server.
A run is short, and has over 2000 cases on each database, most of them one for each constraint of
each schema; `EXPUNGE_CONTRACT_EXAMPLES=500` tries as many more of each operation and walks, over
20 000 in all on each database.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from running_service import Service, add_worker, register_model

LONG = 500
EXAMPLES = int(os.environ.get("EXPUNGE_CONTRACT_EXAMPLES", "2"))
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(450 * EXAMPLES)
def test_no_case_brings_a_server_error_or_an_answer_that_is_not_described(
    service: Service, tmp_path: Path
) -> None:
    with service.database.write() as session, session.begin():
        add_worker(session)
        register_model(session, service.parts.storage, "street-parsing")
    with service.client() as client:  # made at its first use, and then kept
        client.get("/openapi.json").raise_for_status()
    config = tmp_path / "schemathesis.toml"
    config.write_text((HERE / "schemathesis.toml").read_text())
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    options = {
        "--header": f"Authorization: Bearer {service.admin_key}",
        "--checks": "all",
        "--exclude-checks": "use_after_free",  # what is taken out of use is found by its id
        "--phases": "examples,coverage,fuzzing,stateful",
        "--max-examples": str(EXAMPLES),
        "--request-timeout": "60",
        "--warnings": "off",
    }
    words = [word for option in options.items() for word in option]
    done = subprocess.run(
        [*command, f"{service.base_url}/openapi.json", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) >= (20_000 if EXAMPLES >= LONG else 2000)
    with service.client() as client:  # whose key none of this revoked
        assert client.get("/v1/ledger/verify").json()["ok"]
