"""A ramp to saturation: step by step more users, until more of them no longer get more done."""

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from mix import SteadyMix

__all__ = ["Ramp", "SteadyMix"]


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--most-users", type=int, default=128, help="Users of the last step.")
    parser.add_argument("--step-seconds", type=int, default=10, help="Length of a step.")


class Ramp(LoadTestShape):
    """Doubles the users with each step."""

    def tick(self) -> tuple[int, float] | None:
        """Return users, and how many may come in a second; None at the end."""
        options = self.runner.environment.parsed_options
        users = 2 ** int(self.get_run_time() / options.step_seconds)
        return (users, users) if users <= options.most_users else None
