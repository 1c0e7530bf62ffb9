"""The description is valid, and it is that of the code: every parameter, operator, order and error is in it."""

from __future__ import annotations

from openapi_spec_validator import validate

from tcsql import errors
from tcsql.access.scopes import OPERATIONS, needed
from tcsql.engine.query import Operator
from tcsql.http.names import ORDERS
from tcsql.http.openapi import OPERATOR_MEANINGS, error_classes, openapi
from tcsql.http.openapi_access import SCHEME
from tcsql.http.parameters import PARAMETERS
from tcsql.http.paths import PATHS
from tcsql.settings import Settings
from tests.http.serving import Running

DOCUMENT = openapi(Settings())


def test_it_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_the_server_hands_it_out(server: Running) -> None:
    served = server.client.get(server.url + "/openapi.json").json()
    validate(served)
    assert set(served["paths"]) == set(PATHS)


def test_paths_and_methods_are_those_of_the_endpoints() -> None:
    for path, methods in PATHS.items():
        assert {method.upper() for method in DOCUMENT["paths"][path]} == set(methods) - {"HEAD"}


def test_every_parameter_is_described_for_get_and_post() -> None:
    for method in ("get", "post"):
        described = {parameter["name"]: parameter for parameter in DOCUMENT["paths"]["/"][method]["parameters"]}
        assert set(described) == set(PARAMETERS)
        assert all(parameter["description"] for parameter in described.values())
    body = DOCUMENT["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
    assert set(body["properties"]) == set(PARAMETERS)


def test_every_operator_and_order_is_described() -> None:
    assert set(OPERATOR_MEANINGS) == set(Operator)
    assert DOCUMENT["components"]["schemas"]["Operator"]["enum"] == [operator.value for operator in Operator]
    assert all(f"`{operator.value}`" in DOCUMENT["info"]["description"] for operator in Operator)
    assert DOCUMENT["components"]["schemas"]["Order"]["enum"] == list(ORDERS)


def test_every_error_a_client_can_meet_is_listed_with_its_status() -> None:
    codes = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"]
    replies = DOCUMENT["paths"]["/"]["post"]["responses"]
    met = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TCSQLError)]
    for kind in met:
        if kind.exit_code == 1:
            assert kind.code in codes
            assert kind.code in replies[str(kind.status)]["description"]
    assert len(codes) == len(set(codes)) == len(list(error_classes()))


def test_settings_show_in_it() -> None:
    described = openapi(Settings(max_rows=7))["paths"]["/"]["get"]["parameters"]
    [limit] = [parameter for parameter in described if parameter["name"] == "limit_max"]
    assert limit["schema"]["maximum"] == 7


def test_every_operation_says_its_scope_and_how_it_is_refused() -> None:
    """By the table of operations; what asks for nothing that needs a key has no 401."""
    settings = Settings(status_scope="open", metrics_scope="read")
    document = openapi(settings)
    validate(document)
    assert document["components"]["securitySchemes"][SCHEME]["scheme"] == "bearer"
    seen: set[str] = set()
    for path, item in document["paths"].items():
        for described in item.values():
            seen |= set(described["x-scopes"])
            for operation, scope in described["x-scopes"].items():
                assert scope == (needed(operation, settings) or "open"), operation
            is_open = all(OPERATIONS[operation].needs is None for operation in described["x-scopes"])
            assert bool(described["security"]) != is_open, path
            assert {"408", "414", "421", "429", "431", "503"} <= set(described["responses"]), path
            assert ("401" in described["responses"]) != is_open
    assert seen == set(OPERATIONS) - {"preflight", "hint"}
