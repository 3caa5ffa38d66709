"""Simple stories from a grammar: a hero, a friend, a place, something that goes wrong and how it is mended."""
import random
import re

import storyparts as sp

# pronouns: subject, object, possessive
PRONOUNS = {"he": ("he", "him", "his"), "she": ("she", "her", "her")}


def cap(s):
    return s[0].upper() + s[1:]


def art(s):
    return ("an " if s[0].lower() in "aeiou" else "a ") + s


class Hero:
    """Somebody with a name, a kind and pronouns."""

    def __init__(self, name, kind, sex, trait):
        self.name, self.kind, self.trait = name, kind, trait
        self.he, self.him, self.his = PRONOUNS[sex]


def person(rng, kind=None, other=None):
    """A fresh hero: an animal or a human, with another name and kind than other."""
    while True:
        if kind or rng.random() < 0.6:
            k = kind or rng.choice(sp.ANIMALS)
            sex = sp.SEXES.get(k) or rng.choice(("he", "she"))
        else:
            k, sex = rng.choice(sp.PEOPLE)
        if kind is None and other and k == other.kind:
            continue
        name = rng.choice(sp.NAMES[sex])
        if other and name == other.name:
            continue
        return Hero(name, k, sex, rng.choice(sp.TRAITS))


def fill(text, h, f, place, thing, rng, extra):
    """Replaces {h} {he} {him} {his} {He} ..., {f} {fhe} ..., {place}, {thing} and the drawn words."""
    table = {"h": h.name, "he": h.he, "him": h.him, "his": h.his, "f": f.name, "fhe": f.he, "fhim": f.him,
             "fhis": f.his, "hk": h.kind, "fk": f.kind, "afk": art(f.kind), "place": place, "thing": thing, "athing": art(thing)}
    table.update(extra)

    def one(m):
        key = m.group(1)
        if key in table:
            return table[key]
        low = key[0].lower() + key[1:]
        if low in table:
            return cap(table[low])
        value = rng.choice(sp.DRAWN[low])
        return cap(value) if key != low else value
    return re.sub(r"\{(\w+)\}", one, text)


def story(rng, kinds=None, size=None, once=None):
    """One story. kinds: the kinds of hero and friend; size: short or long; once: begin with Once upon a time."""
    h = person(rng, kinds and kinds[0])
    f = person(rng, kinds and kinds[1], h)
    place, near = rng.choice(sp.PLACES)
    plot = rng.choice(sp.PLOTS)
    thing = rng.choice(plot.get("things", sp.THINGS))
    extra = {"near": near, "weather": rng.choice(sp.WEATHER), "food": rng.choice(sp.FOODS),
             "helper": rng.choice(sp.HELPERS)}
    size = size or rng.choice(("short", "long", "long"))
    once = rng.random() < 0.6 if once is None else once
    kind = art(h.trait + " " + h.kind)
    opening = rng.choice(sp.ONCE if once else sp.OPENINGS)
    parts = [fill(opening, h, f, place, thing, rng, dict(extra, kind=kind))]
    if size == "long":
        parts.append(rng.choice(sp.HABITS))
    meet = rng.choice(sp.FRIENDS)
    parts.append(meet)
    paragraphs = [parts, [], [], []]
    if size == "long" or rng.random() < 0.4:
        paragraphs[1].append(rng.choice(sp.MORNINGS))
    paragraphs[1] += [rng.choice(plot["problem"])]
    paragraphs[1].append(rng.choice(plot["feel"]))
    if size == "long":
        paragraphs[2].append(rng.choice(plot["talk"]))
        paragraphs[2].append(rng.choice(plot["try"]))
    paragraphs[2].append(rng.choice(plot["solve"]))
    if size == "long":
        paragraphs[3].append(rng.choice(plot["after"]))
    paragraphs[3].append(rng.choice(sp.ENDINGS))
    if rng.random() < 0.5:
        paragraphs[3].append(rng.choice(plot["moral"]))
    done = [" ".join(fill(s, h, f, place, thing, rng, extra) for s in p) for p in paragraphs if p]
    return ("\n\n" if size == "long" else " ").join(done)


def adventure(plot, rng):
    """Two paragraphs: what happens, and how it is mended."""
    return ([rng.choice(plot["problem"]), rng.choice(plot["feel"])],
            [rng.choice(plot["talk"]), rng.choice(plot["try"]), rng.choice(plot["solve"])])


def saga(rng):
    """A long story: the same two friends in two adventures. It begins in its own way, so that one who reads the
    beginning knows that it will be long."""
    h = person(rng)
    f = person(rng, None, h)
    place, near = rng.choice(sp.PLACES)
    first, second = rng.sample([p for p in sp.PLOTS if "things" not in p], 2)
    thing = rng.choice(sp.THINGS)
    extra = {"near": near, "weather": rng.choice(sp.WEATHER), "weather2": rng.choice(sp.WEATHER), "food": rng.choice(sp.FOODS),
             "helper": rng.choice(sp.HELPERS), "kind": art(h.trait + " " + h.kind)}
    extra["weather2"] = extra["weather2"][0].lower() + extra["weather2"][1:]
    opening = rng.choice(sp.LONG_OPENINGS).replace("{FRIEND}", rng.choice(sp.FRIENDS))
    paragraphs = [[opening, *rng.sample(sp.HABITS, 2)]]
    for n, plot in enumerate((first, second)):
        happens, mended = adventure(plot, rng)
        paragraphs += [[rng.choice(sp.LATER if n else sp.MORNINGS), *happens], mended + [rng.choice(plot["after"])]]
    paragraphs += [[rng.choice(sp.CLOSINGS)], [rng.choice(sp.ENDINGS), rng.choice(second["moral"])]]
    return "\n\n".join(" ".join(fill(s, h, f, place, thing, rng, extra) for s in p) for p in paragraphs)


def description(rng):
    """A description: a fixed frame whose sentences vary and some of which may fall away."""
    title, sentences = rng.choice(sp.DESCRIPTIONS)
    out = []
    for i, s in enumerate(sentences):
        if i not in (0, len(sentences) - 1) and rng.random() < 0.2:
            continue
        s = rng.choice(s) if isinstance(s, (list, tuple)) else s
        out.append(re.sub(r"\{(\w+)\}", lambda m: rng.choice(sp.DRAWN[m.group(1)]), s))
    return " ".join(out)


def collect(rng, n_stories=4800, n_descriptions=600, n_sagas=4000):
    """[(source, text)]: distinct stories and descriptions."""
    seen, out = set(), []
    own = random.Random(1)
    for count, source, make, rng in ((n_stories, "story", story, rng), (n_descriptions, "description", description, rng),
                                     (n_sagas, "story/long", saga, own)):
        for _ in range(count):
            text = make(rng)
            if text not in seen:
                seen.add(text)
                out.append((source, text))
    return out


def tales(rng, count=800):
    """Exchanges: (question, story) about two named kinds; each question once."""
    kinds = sp.ANIMALS + [k for k, _ in sp.PEOPLE]
    seen, out = set(), []
    while len(out) < count:
        x, y = rng.sample(kinds, 2)
        frame = rng.choice(("Tell me a short story about %s and %s", "Tell me a story about %s and %s.",
                            "Write a short story about %s and %s.", "Tell me a short story about %s and %s"))
        q = frame % (art(x), art(y))
        if q not in seen:
            seen.add(q)
            out.append((q, story(rng, (x, y), "short" if rng.random() < 0.7 else "long", True)))
    for x in kinds:
        y = rng.choice([k for k in sp.ANIMALS if k != x])
        out.append(("Tell me a story about %s." % art(x), story(rng, (x, y), "short", True)))
    return out


def examples(book, rng):
    """Adds the story exchanges to the book, each shown twice."""
    for q, text in tales(rng):
        book.add("story", [q], text, 2, False)
