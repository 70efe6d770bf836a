"""A till in Python, on the client that openapi-python-client makes of the document."""

import json
import sys

from nowserving_client import AuthenticatedClient
from nowserving_client.api.legacy import legacy_lookup
from nowserving_client.api.numbers import get_number
from nowserving_client.api.orders import change_order, create_order, release_order, search_orders
from nowserving_client.models import (
    Durability,
    Metadata,
    Order,
    OrderChange,
    OrderDetails,
    OrderSource,
    OrderStatus,
    Problem,
    ReleaseRequest,
)

url, key = sys.argv[1:]
api = AuthenticatedClient(base_url=url, token=key)


def got(answer, status):
    """The body of an answer with this status."""
    assert answer.status_code == status, answer
    return answer.parsed


metadata = {"loyalty": {"points": 12.5, "tiers": ["gold", None]}, "paid": True}
details = OrderDetails(
    order_source=OrderSource.KIOSK, customer_name="Zoë", note="no onions", metadata=Metadata.from_dict(metadata)
)
made = got(
    create_order.sync_detailed(
        7, client=api, body=details, idempotency_key="python-1", durability=Durability.LEDGER
    ),
    201,
)
assert isinstance(made, Order)

change = OrderChange(
    status=OrderStatus.PREPARING, note=None, metadata=Metadata.from_dict({**metadata, "paid": False})
)
version = f'"{made.version}"'
changed = got(change_order.sync_detailed(made.internal_order_id, client=api, body=change, if_match=version), 200)
conflict = change_order.sync_detailed(
    made.internal_order_id, client=api, body=OrderChange(status=OrderStatus.READY), if_match=version
)
assert isinstance(conflict.parsed, Problem)

number = got(get_number.sync_detailed(7, made.display_number_formatted, client=api), 200)
released = got(
    release_order.sync_detailed(made.internal_order_id, client=api, body=ReleaseRequest(immediate=False)), 200
)
found = got(search_orders.sync_detailed(7, client=api, q="Zoë", include_completed=True), 200)
# With a key of one restaurant the older calls need not name it.
looked_up = got(legacy_lookup.sync_detailed(client=api, display_number=made.display_number_formatted), 200)

print(
    json.dumps(
        {
            "made": made.to_dict(),
            "changed": changed.to_dict(),
            "refused": conflict.parsed.code.value,
            "state": number.state.value,
            "released": released.to_dict(),
            "found": [order.to_dict() for order in found.orders],
            "looked_up": looked_up.to_dict(),
        }
    )
)
