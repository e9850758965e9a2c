"""The gRPC server: which method is which handler, how it starts and how it ends."""

from __future__ import annotations

import socket
from typing import Any

import grpc
from google.pubsub_v1 import types

from emulators.faults import fault
from emulators.faults.fault import Vocabulary
from emulators.faults.fault_runtime import FaultRuntime
from emulators.pubsub import limits, names
from emulators.pubsub.broker import Broker
from emulators.pubsub.clock import Clock
from emulators.pubsub.errors import PubsubError
from emulators.pubsub.handlers import PublisherApi, SubscriberApi
from emulators.pubsub.rpc_gate import RpcGate

_PUBLISHER = "/google.pubsub.v1.Publisher/"
_SUBSCRIBER = "/google.pubsub.v1.Subscriber/"
_FAMILIES = ("/google.pubsub.v1.", "/google.iam.v1.IAMPolicy/")

_OPTIONS = [
    ("grpc.max_receive_message_length", limits.RECEIVE_BYTES),
    # Otherwise a second emulator could share the port, and each would get half of the connections.
    ("grpc.so_reuseport", 0),
    # Clients of the real service ping idle connections; gRPC would answer "too many pings".
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class Methods:
    """Finds the handler of a call; methods of Pub/Sub that are not implemented are refused by name."""

    def __init__(self, publisher: PublisherApi, subscriber: SubscriberApi, gate: RpcGate) -> None:
        self._gate = gate
        unary = {
            _PUBLISHER + "CreateTopic": (types.Topic, publisher.create_topic),
            _PUBLISHER + "UpdateTopic": (types.UpdateTopicRequest, publisher.update_topic),
            _PUBLISHER + "GetTopic": (types.GetTopicRequest, publisher.get_topic),
            _PUBLISHER + "DeleteTopic": (types.DeleteTopicRequest, publisher.delete_topic),
            _PUBLISHER + "ListTopics": (types.ListTopicsRequest, publisher.list_topics),
            _PUBLISHER + "ListTopicSubscriptions": (
                types.ListTopicSubscriptionsRequest,
                publisher.list_topic_subscriptions,
            ),
            _PUBLISHER + "Publish": (types.PublishRequest, publisher.publish),
            _PUBLISHER + "DetachSubscription": (types.DetachSubscriptionRequest, publisher.detach_subscription),
            _SUBSCRIBER + "CreateSubscription": (types.Subscription, subscriber.create_subscription),
            _SUBSCRIBER + "GetSubscription": (types.GetSubscriptionRequest, subscriber.get_subscription),
            _SUBSCRIBER + "UpdateSubscription": (types.UpdateSubscriptionRequest, subscriber.update_subscription),
            _SUBSCRIBER + "ListSubscriptions": (types.ListSubscriptionsRequest, subscriber.list_subscriptions),
            _SUBSCRIBER + "DeleteSubscription": (types.DeleteSubscriptionRequest, subscriber.delete_subscription),
            _SUBSCRIBER + "ModifyPushConfig": (types.ModifyPushConfigRequest, subscriber.modify_push_config),
            _SUBSCRIBER + "Pull": (types.PullRequest, subscriber.pull),
            _SUBSCRIBER + "Acknowledge": (types.AcknowledgeRequest, subscriber.acknowledge),
            _SUBSCRIBER + "ModifyAckDeadline": (types.ModifyAckDeadlineRequest, subscriber.modify_ack_deadline),
            _SUBSCRIBER + "Seek": (types.SeekRequest, subscriber.seek),
        }
        self._handlers = {path: gate.unary(path, request.pb(), work) for path, (request, work) in unary.items()}
        path = _SUBSCRIBER + "StreamingPull"
        self._handlers[path] = gate.stream(path, types.StreamingPullRequest.pb(), subscriber.streaming_pull)

    def vocabulary(self) -> Vocabulary:
        """The faults that can be injected into these methods."""
        every = [names.id_of(path) for path in self._handlers]
        deliveries = ("Pull", "StreamingPull")
        return Vocabulary(
            {
                fault.Error: every,
                fault.Latency: every,
                fault.LatencyAfter: every,
                fault.Blackhole: every,
                fault.LostReply: every,
                fault.Duplicate: deliveries,
                fault.Reorder: deliveries,
                fault.DropStream: ("StreamingPull",),
                fault.DropAcks: ("Acknowledge", "StreamingPull"),
            }
        )

    def service(self, call: Any) -> Any:
        """gRPC's `GenericRpcHandler.service`: the handler of `call.method`, or None if it is not one of Pub/Sub's."""
        path = call.method if isinstance(call.method, str) else call.method.decode()
        if path in self._handlers:
            return self._handlers[path]
        return self._gate.unknown(path) if path.startswith(_FAMILIES) else None


class Server:
    """An emulator on one address. `start` returns the port; `stop` ends what is open with UNAVAILABLE."""

    def __init__(self, broker: Broker, clock: Clock, runtime: FaultRuntime) -> None:
        self._broker = broker
        self._runtime = runtime
        gate = RpcGate(runtime, clock)
        self._server = grpc.aio.server(options=_OPTIONS)
        methods = Methods(PublisherApi(broker, clock), SubscriberApi(broker, clock, gate), gate)
        self.vocabulary = methods.vocabulary()
        self._server.add_generic_rpc_handlers((methods,))

    async def start(self, host: str, port: int) -> int:
        """Listen, on a free port for port 0; raises OSError if the address cannot be used."""
        # gRPC says less, and to the process's stderr, about an address that cannot be used.
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        try:
            bound = int(self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self._server.start()
        return bound

    async def stop(self) -> None:
        self._runtime.clear()
        self._broker.finish(PubsubError(grpc.StatusCode.UNAVAILABLE, "The emulator is shutting down."))
        await self._server.stop(grace=0.5)
