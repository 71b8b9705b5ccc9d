"""A program that knows the API only through a client generated from its OpenAPI document.

It registers a tenant, signs in, adds 1,000 people, and pages through them with filters and
sorts while others are added and deleted: every one of the 1,000 is seen exactly once.

    python pages.py http://127.0.0.1:8080
"""

import sys
import threading
import time
import uuid

from purlin_client import AuthenticatedClient, Client
from purlin_client.api.auth import post_auth_login, post_auth_register
from purlin_client.api.users import delete_users_id, get_users, post_users, post_users_search
from purlin_client.models import Login, NewTenant, NewUser, Registration, Search

PEOPLE = 1000
PASSWORD = "correct horse battery"


def call(operation, **arguments):
    """What the operation answers; a 429 is waited out, anything else but success ends the program."""
    while True:
        answer = operation.sync_detailed(**arguments)
        if answer.status_code == 429:
            time.sleep(float(answer.headers["retry-after"]))
        elif answer.status_code >= 300:
            sys.exit(f"{operation.__name__}: {answer.status_code} {answer.content}")
        else:
            return answer.parsed


def sign_in(base):
    slug = f"client-{uuid.uuid4().hex[:8]}"
    email = f"ada@{slug}.example"
    client = Client(base_url=base, timeout=60)
    tenant = NewTenant(name=slug, slug=slug)
    call(post_auth_register, client=client, body=Registration(tenant=tenant, email=email, password=PASSWORD))
    signed_in = call(post_auth_login, client=client, body=Login(email=email, password=PASSWORD, tenant=slug))
    return AuthenticatedClient(base_url=base, token=signed_in.access_token, timeout=60)


def add(client, name, email):
    return call(post_users, client=client, body=NewUser(email=email, first_name=name)).id


def churn(client, stop, counts):
    """Add and delete people, before and behind and amid those who stay."""
    n = 0
    while not stop.is_set():
        gone = add(client, f"N{n % 7}", f"{'amz'[n % 3]}-{n}@churn.example")
        call(delete_users_id, client=client, id=gone)
        counts["changed"] += 2
        n += 1


def pages(client, **query):
    after = None
    while True:
        page = call(get_users, client=client, pagesize=37, **({"pageafter": after} if after else {}), **query)
        yield from page.data
        after = page.page.next_
        if not after:
            return


def search(client, **query):
    after = None
    while True:
        body = Search.from_dict({**query, "page": {"size": 200, "after": after}})
        page = call(post_users_search, client=client, body=body)
        yield from page.data
        after = page.page.next_
        if not after:
            return


def main(base):
    client = sign_in(base)
    stay = {add(client, f"N{n % 7}", f"{'bly'[n % 3]}-{n:04}@stay.example") for n in range(PEOPLE)}
    assert len(stay) == PEOPLE
    stop, counts = threading.Event(), {"changed": 0}
    others = threading.Thread(target=churn, args=(client, stop, counts))
    others.start()
    try:
        for query in [
            {"sort": "email"},
            {"sort": "-created_at"},
            {"sort": "first_name,-email", "filteris_active": True},
            {"sort": "-first_name", "filteremaillike": "*"},
            {},
        ]:
            seen = [user.id for user in pages(client, **query)]
            ours = [id for id in seen if id in stay]
            assert len(ours) == PEOPLE and set(ours) == stay, f"{query}: saw {len(ours)} of {PEOPLE}"
        tree = {"or": [{"field": "email", "op": "like", "value": "*@stay.example"}, {"field": "email", "op": "like", "value": "a*"}]}
        ours = [user.id for user in search(client, filter=tree, sort=["email"]) if user.id in stay]
        assert len(ours) == PEOPLE and set(ours) == stay, f"search: saw {len(ours)} of {PEOPLE}"
        some = [user for user in pages(client, sort="email", filterfirst_name="N3", filteremaililike="*@STAY.example")]
        assert len(some) == len(range(3, PEOPLE, 7)), len(some)
    finally:
        stop.set()
        others.join()
    assert counts["changed"] > 0
    print(f"each of {PEOPLE} people was seen exactly once in 6 walks, while {counts['changed']} others were added or deleted")


if __name__ == "__main__":
    main(sys.argv[1])
