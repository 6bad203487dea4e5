"""Flags of alerts about live events."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from earmark.listening.alerts import Alerts, command, webhook
from earmark.listening.budget import Budget
from earmark.listening.listener import Message

Outlet = Callable[[Message], None]
"""Receives every message; sends those that are alerts."""


@dataclass(frozen=True)
class AlertFlags:
    """Where alerts about events go."""

    exec: str | None = None
    """Command to run for each event, without a shell; its arguments are label, onset, offset, score, time, clip."""
    webhook: Annotated[str | None, Parameter(env_var="EARMARK_WEBHOOK", show_env_var=True)] = None
    """URL to which each event is posted as JSON."""
    alert_at: Literal["begin", "end"] = "end"
    """Send alerts when events begin (provisional), or when they have ended."""
    mqtt: Annotated[str | None, Parameter(env_var="EARMARK_MQTT", show_env_var=True)] = None
    """Broker to publish to, as mqtt://USER:PASSWORD@HOST; Home Assistant finds the labels. Needs the extra live."""
    topic: str = "earmark"
    """Prefix of the MQTT topics."""

    def deliveries(self) -> list[tuple[str, Callable[[Message], object]]]:
        """Name and function of each kind of alert but MQTT.

        Raises:
            ConfigError: The command or the URL is invalid.
        """
        given = [("exec", command, self.exec), ("webhook", webhook, self.webhook)]
        return [(name, make(value)) for name, make, value in given if value is not None]

    @contextmanager
    def outlets(
        self,
        labels: Sequence[str],
        names: Sequence[str],
        per_hour: int | None,
        sounding: Callable[[], set[str]],
        report: Callable[[str], object],
    ) -> Iterator[list[Outlet]]:
        """Opens the outlets, and closes them at the end.

        Args:
            labels: Labels that Home Assistant receives at the start.
            names: All labels of the tagger.
            per_hour: Alerts of each kind in 60 minutes; None for no limit.
            sounding: Returns the labels that sound now.
            report: Takes a line about alerts that fail.

        Raises:
            ConfigError: A setting is invalid.
        """
        kind = "began" if self.alert_at == "begin" else "event"
        with ExitStack() as opened:
            outlets: list[Outlet] = []
            for name, deliver in self.deliveries():
                alerts = opened.enter_context(closing(Alerts(name, deliver, report)))
                outlets.append(_within(Budget(per_hour), kind, alerts.offer))
            if self.mqtt is not None:
                from earmark.listening.home_assistant import Mqtt

                broker = opened.enter_context(closing(Mqtt(self.mqtt, self.topic, labels, names, report)))
                outlets.append(lambda message: broker.offer(message, sounding()))
            yield outlets


def _within(budget: Budget, kind: str, offer: Outlet) -> Outlet:
    """Offers messages of one kind within the hour's budget."""

    def limited(message: Message) -> None:
        if message.type == kind and budget.take(message.onset):
            offer(message)

    return limited
