"""The ledger by whatever a person types: a network in any spelling, a family, a paper, a topic."""

from convatlas import facts, naming
from convatlas.errors import UsageError


def look_up(topic: str) -> facts.Findings:
    """A network in any spelling, or else everything under a topic.

    >>> look_up("LeNet-5").networks[0].name
    'lenet5'

    Raises:
        UsageError: nothing is known under this name.
    """
    names = facts.network_names()
    if topic in names:
        return facts.lookup(topic)
    findings = facts.search(topic) if naming.normalise(topic) else None
    if findings and (len(findings.networks) > 1 or not findings.networks):
        return findings
    try:
        return facts.lookup(naming.resolve(topic, names, {}))
    except UsageError as error:
        if findings:
            return findings
        raise UsageError(
            f"nothing is known of {topic!r}: {str(error).rstrip('.')}; topics are {', '.join(facts.topics())}"
        ) from None
