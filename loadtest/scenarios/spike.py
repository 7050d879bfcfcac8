"""A spike: few users, briefly fifty times as many, then few again."""

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from mix import SteadyMix

__all__ = ["Spike", "SteadyMix"]

_FEW = 2


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--spike-users", type=int, default=100, help="Number of users during the spike.")
    parser.add_argument("--phase-seconds", type=int, default=20, help="Length of each phase in seconds.")


class Spike(LoadTestShape):
    """A load shape of three phases: few users, a spike, few users."""

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users and the spawn rate per second, or None at the end."""
        options = self.runner.environment.parsed_options
        phase = int(self.get_run_time() / options.phase_seconds)
        users = [_FEW, options.spike_users, _FEW]
        return (users[phase], options.spike_users) if phase < len(users) else None
