"""centrifuge-python as a speaker in the conversation: what speakers.mjs says of programs."""

import asyncio
import json
import sys
import urllib.request

from centrifuge import Client, ClientEventHandler, StreamPosition, SubscriptionEventHandler

setup = json.loads(sys.argv[1])
min_s, max_s = setup["reconnect_ms"]["min"] / 1000, setup["reconnect_ms"]["max"] / 1000


def say(type, **more):
    print(json.dumps({"type": type, **more}), flush=True)


def decode(data):
    """JSON, whatever travelled."""
    return json.loads(data) if setup["protobuf"] and data else data


def encode(data):
    return json.dumps(data).encode() if setup["protobuf"] else data


def info(told):
    return told and {
        "user": told.user,
        "client": told.client,
        "conn_info": decode(told.conn_info),
        "chan_info": decode(told.chan_info),
    }


def publication(told):
    return {"data": decode(told.data), "offset": told.offset, "info": info(told.info)}


async def token(path):
    def fetch():
        with urllib.request.urlopen(setup["tokens"] + path) as response:
            return response.read().decode()

    return await asyncio.to_thread(fetch)


def says_why(type, always=False):
    """A handler for a change of state. Code 0 is the client's own doing: that is said only of ends."""

    async def handler(_, ctx):
        if always or ctx.code:
            say(type, code=ctx.code, reason=ctx.reason)

    return handler


class OfClient(ClientEventHandler):
    on_connecting = says_why("connecting")
    on_disconnected = says_why("disconnected", always=True)

    async def on_connected(self, ctx):
        say("connected", client=ctx.client)

    async def on_subscribed(self, ctx):
        say("server_subscribed", channel=ctx.channel, recovered=ctx.recovered)

    async def on_publication(self, ctx):
        say("server_publication", channel=ctx.channel, **publication(ctx.pub))


class OfSubscription(SubscriptionEventHandler):
    on_subscribing = says_why("subscribing")
    on_unsubscribed = says_why("unsubscribed", always=True)

    async def on_subscribed(self, ctx):
        say("subscribed", recovered=ctx.recovered)

    async def on_publication(self, ctx):
        say("publication", **publication(ctx.pub))

    async def on_join(self, ctx):
        say("join", info=info(ctx.info))

    async def on_leave(self, ctx):
        say("leave", info=info(ctx.info))

    async def on_error(self, ctx):
        say("error", code=ctx.code, reason=str(ctx.error))


async def ask(client, subscription, question):
    match question["ask"]:
        case "publish":
            await subscription.publish(encode(question["data"]))
        case "presence":
            return {id: info(told) for id, told in (await subscription.presence()).clients.items()}
        case "presence_stats":
            stats = await subscription.presence_stats()
            return {"clients": stats.num_clients, "users": stats.num_users}
        case "history":
            since = question.get("since")
            past = await subscription.history(
                limit=question["limit"],
                since=since and StreamPosition(**since),
                reverse=question.get("reverse", False),
            )
            publications = [publication(told) for told in past.publications]
            return {"publications": publications, "offset": past.offset, "epoch": past.epoch}
        case "disconnect":
            await client.disconnect()


async def main():
    client = Client(
        setup["url"] + ("?format=protobuf" if setup["protobuf"] else ""),
        events=OfClient(),
        get_token=lambda: token("/connection"),
        use_protobuf=setup["protobuf"],
        min_reconnect_delay=min_s,
        max_reconnect_delay=max_s,
        proxy=None,
    )
    subscription = client.new_subscription(
        setup["channel"],
        events=OfSubscription(),
        get_token=lambda _channel: token("/subscription"),
        recoverable=True,
        join_leave=True,
    )
    await client.connect()
    await subscription.subscribe()
    while line := await asyncio.to_thread(sys.stdin.readline):
        question = json.loads(line)
        try:
            say("answer", id=question["id"], result=await ask(client, subscription, question))
        except Exception as error:
            say("answer", id=question["id"], error=repr(error))


asyncio.run(main())
