"""What no description can say of a request that is to be accepted; requests that are to be refused are left as they are."""

from datetime import datetime

import schemathesis

# Of the rules for addresses of webhooks only the server knows all.
WEBHOOK = "https://app.example.org/hooks/outlay"


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    # Cursors are made by the server alone.
    for name in ("cursor", "stepsCursor"):
        if isinstance(case.query, dict):
            case.query.pop(name, None)
    operation_id = case.operation.definition.raw.get("operationId")
    for body in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(body, dict):
            settle(operation_id, body)


def settle(operation_id, body):
    # What was used was used by now.
    for name in ("timestamp", "time"):
        if operation_id == "recordUsage" and is_ahead(body.get(name)):
            body[name] = None
    # A key ends in the future.
    if operation_id == "createKey" and body.get("expiresAt") is not None:
        body["expiresAt"] = "2999-01-01T00:00:00Z"
    if operation_id == "createWebhook":
        body["url"] = WEBHOOK
    # No two choices have one name.
    names = set()
    for index, choice in enumerate(body.get("choices") or []):
        if choice["name"] in names:
            choice["name"] = f"choice {index}"
        names.add(choice["name"])


def is_ahead(time):
    return isinstance(time, str) and time[:4] >= str(datetime.now().year)
