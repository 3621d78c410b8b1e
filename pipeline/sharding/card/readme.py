"""Facts on a set of shards ► ``README.md``: front matter for Hugging Face, and the card in few words."""

from pipeline.base.funnel import funnel_lines
from pipeline.base.rendering import render_template
from pipeline.sharding.card.facts import CardFacts, extra_keys
from pipeline.sharding.card.hugging_face import front_matter
from pipeline.sharding.card.manners import switched_off
from pipeline.sharding.card.queries import count_totals, head_rows
from pipeline.sharding.forms import form_of, shard_patterns, splits_of

_MOST_QUERIES = 20


def render_readme(facts: CardFacts) -> str:
    """The card as Markdown, with front matter for Hugging Face."""
    form = form_of(facts.manifest)
    front = front_matter(
        suffixes=facts.manifest["images"],
        carried=facts.carried,
        extra=extra_keys(facts.history),
        samples=facts.manifest["samples"],
        title=facts.said.title,
        license=facts.said.license,
        form=form,
        splits=splits_of(facts.manifest),
    )
    return render_template(
        __package__,
        "readme.md.j2",
        front=front,
        facts=facts,
        manifest=facts.manifest,
        members=["jpg", *(["json"] if form.has_json else []), "txt"],
        patterns=shard_patterns(facts.manifest),
        said=facts.said,
        funnel=funnel_lines(facts.history),
        switched_off=switched_off(facts.history),
        totals=count_totals(facts.queries),
        head=head_rows(facts.queries, _MOST_QUERIES),
    )
