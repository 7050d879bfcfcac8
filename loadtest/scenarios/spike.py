"""A spike: few users, for a moment fifty times as many, and few again."""

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from mix import SteadyMix

__all__ = ["Spike", "SteadyMix"]

_FEW = 2


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--spike-users", type=int, default=100, help="Users at the height of the spike.")
    parser.add_argument("--phase-seconds", type=int, default=20, help="Length of each of the three phases.")


class Spike(LoadTestShape):
    """Decides how many users there are."""

    def tick(self) -> tuple[int, float] | None:
        """Return users, and how many may come in a second; None at the end."""
        options = self.runner.environment.parsed_options
        phase = int(self.get_run_time() / options.phase_seconds)
        users = [_FEW, options.spike_users, _FEW]
        return (users[phase], options.spike_users) if phase < len(users) else None
