"""Short exchanges: facts, arithmetic, translations, counting, lists, words."""
import facts
import phrases
from facts import pairs


def cap(s):
    return s[0].upper() + s[1:]


def a(word):
    """The word with its indefinite article."""
    return ("an " if word[0].lower() in "aeiou" else "a ") + word


def join(items):
    """red, blue, and green"""
    items = list(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + ", and " + items[-1]


def capitals(book):
    for country, city in pairs(facts.CAPITALS):
        book.add("capital", ["Capital of %s:" % country, "What is the capital of %s?" % country,
                             "Capital of %s?" % country, "What's the capital of %s?" % country,
                             "Which city is the capital of %s?" % country, "Name the capital of %s." % country,
                             "Tell me the capital of %s" % country],
                 "The capital of %s is %s" % (country, city) + ("" if city.endswith(".") else "."), 16)
    for city in ["Paris", "Madrid", "Rome", "Berlin", "Lisbon", "Vienna", "Warsaw", "Athens", "Oslo", "Tokyo", "Cairo",
                 "Ottawa", "Beijing", "Moscow", "Dublin", "Lima", "Hanoi", "Helsinki", "Stockholm", "Copenhagen"]:
        country = {c: k for k, c in pairs(facts.CAPITALS)}[city]
        book.add("capital", ["Which country has the capital %s?" % city, "%s is the capital of which country?" % city],
                 "%s is the capital of %s." % (city, country), 8)
    for continent, names in facts.CONTINENTS.items():
        for c in names.split():
            c = c.replace("_", " ")
            book.add("continent", ["Where is %s?" % c, "On which continent is %s?" % c, "Continent of %s:" % c],
                     "%s is in %s." % (cap(c), continent), 8)
    for c, lang in pairs(facts.LANGUAGES):
        book.add("language", ["What language is spoken in %s?" % c, "Which language do people speak in %s?" % c,
                              "Language of %s:" % c], "People in %s speak %s." % (c, lang), 10)


def tables(book):
    for thing, color in pairs(facts.COLORS):
        book.add("color", ["What color is %s?" % thing, "Color of %s:" % thing, "What is the color of %s?" % thing],
                 "%s is %s." % (cap(thing), color), 14)
    for x, y in pairs(facts.OPPOSITES):
        for p, q in ((x, y), (y, x)):
            if p in ("light", "short", "old", "young", "new"):
                continue
            book.add("opposite", ["What is the opposite of %s?" % p, "Opposite of %s:" % p, "Opposite of %s" % p,
                                  "Give the opposite of %s." % p], "The opposite of %s is %s." % (p, q), 12)
    for one, many in pairs(facts.PLURALS):
        book.add("plural", ["What is the plural of %s?" % one, "Plural of %s:" % one, "Give the plural of %s." % one],
                 "The plural of %s is %s." % (one, many), 12)
    for now, then in pairs(facts.PASTS):
        book.add("past", ["What is the past tense of %s?" % now, "Past tense of %s:" % now],
                 "The past tense of %s is %s." % (now, then), 10)
    for x, y in pairs(facts.YOUNG):
        book.add("young", ["What is a young %s called?" % x, "What is a baby %s called?" % x, "Young of %s:" % a(x)],
                 "A young %s is called %s." % (x, a(y)), 12)
    for x, y in pairs(facts.SOUNDS):
        book.add("sound", ["What sound does %s make?" % a(x), "What does %s say?" % a(x), "Sound of %s:" % a(x)],
                 "%s %s." % (cap(a(x)), y), 12)
    for x, y in pairs(facts.HOMES):
        book.add("home", ["Where does %s live?" % x, "Home of %s:" % x], "%s lives in %s." % (cap(x), y), 12)
    for x, y in pairs(facts.SYMBOLS):
        book.add("symbol", ["What is the chemical symbol of %s?" % x, "Chemical symbol of %s:" % x,
                            "Symbol for %s:" % x], "The chemical symbol of %s is %s." % (x, y), 12)
    for x, y in pairs(facts.LEGS):
        limb = facts.LIMBS.get(x, "legs")
        book.add("legs", ["How many %s does %s have?" % (limb, x), "Number of %s of %s:" % (limb, x)],
                 "%s has %s %s." % (cap(x), y, limb), 12)
    for line in facts.SIMPLE.split("\n"):
        answer, *qs = line.split("|")
        book.add("simple", qs + [q[:-1] for q in qs if q.endswith("?")], answer, 18)


def order(book):
    for names, what in ((facts.DAYS, "day"), (facts.MONTHS, "month"), (facts.PLANETS, "planet")):
        for i, n in enumerate(names):
            k = (i + 1) % len(names)
            if what != "planet":
                book.add("order", ["What %s comes after %s?" % (what, n), "Which %s comes after %s?" % (what, n),
                                   "What comes after %s?" % n], "%s comes after %s." % (names[k], n), 14)
                book.add("order", ["What %s comes before %s?" % (what, names[k]), "What comes before %s?" % names[k]],
                         "%s comes before %s." % (n, names[k]), 14)
            book.add("order", ["What is the %s %s?" % (facts.ORDINALS[i], what),
                               "%s %s:" % (cap(facts.ORDINALS[i]), what)],
                     "The %s %s is %s." % (facts.ORDINALS[i], what, n), 12)
        book.add("order", ["Name the %ss in order" % what, "List the %ss in order:" % what, "List all %ss:" % what],
                 join(names) + ".", 16)
    for n, d in zip(facts.MONTHS, facts.MONTH_DAYS):
        book.add("order", ["How many days does %s have?" % n, "Days in %s:" % n], "%s has %d days." % (n, d), 12)
    for i in range(19):
        x, y = facts.NUMBERS[i:i + 2]
        book.add("order", ["What number comes after %s?" % x, "What comes after %s?" % x],
                 "%s comes after %s." % (cap(y), x), 8)
        book.add("order", ["Write %d as a word" % i, "What is %d in words?" % i], cap(x), 10)


def sum_questions(a_, sign, b):
    """Phrasings of one sum; the plain ones first."""
    word = {"+": "plus", "-": "minus", "×": "times"}[sign]
    qs = ["What is %d%s%d?" % (a_, sign, b), "What is %d %s %d?" % (a_, sign, b), "Compute %d %s %d." % (a_, sign, b),
          "%d %s %d =" % (a_, sign, b), "What is %d %s %d?" % (a_, word, b), "%d%s%d" % (a_, sign, b),
          "How much is %d %s %d?" % (a_, sign, b)]
    if sign == "×":
        qs += ["What is %d x %d?" % (a_, b), "What is %d*%d?" % (a_, b)]
    return qs


def arithmetic(book, rng):
    for x in range(13):
        for y in range(13):
            book.add("sum", sum_questions(x, "+", y), "%d + %d = %d" % (x, y, x + y), 14)
            book.add("sum", sum_questions(x, "×", y), "%d × %d = %d" % (x, y, x * y), 12)
            if x + y <= 20:
                book.add("sum", sum_questions(x + y, "-", y), "%d - %d = %d" % (x + y, y, x), 14)
    seen = set()
    while len(seen) < 4500:
        x, y, s = rng.randint(1, 99), rng.randint(1, 99), rng.choice("++-")
        if s == "-" and x < y:
            x, y = y, x
        if (x < 13 and y < 13) or (x, y, s) in seen or s == "-" and x <= 20:
            continue
        seen.add((x, y, s))
        book.add("bigsum", sum_questions(x, s, y)[rng.randrange(5):][:1],
                 "%d %s %d = %d" % (x, s, y, x + y if s == "+" else x - y), 1)


def translations(book):
    for line in phrases.PHRASES.split("\n"):
        en, *others = line.split("|")
        for lang, text in zip(phrases.LANGUAGES, others):
            qs = ["Translate to %s: %s" % (lang, en), "How do you say \"%s\" in %s?" % (en, lang),
                  "Translate into %s: %s" % (lang, en)]
            book.add("translate", qs, text, 9 if en != "Hello world" else 20)
    for line in phrases.PHRASES.split("\n")[1::3]:
        en, es = line.split("|")[:2]
        if es not in ("La primavera", "No", "Mañana"):
            book.add("translate", ["Translate to English: %s" % es], en, 8)


def counting(book):
    for n in range(2, 21):
        text = ", ".join(str(i) for i in range(1, n + 1))
        book.add("count", ["Count to %d:" % n, "Count to %d" % n, "Count to %d." % n, "Count from 1 to %d:" % n,
                           "Count up to %d:" % n, "Can you count to %d?" % n], text, 40 if n in (3, 5, 10) else 20)
        if n <= 15:
            book.add("count", ["Count down from %d:" % n, "Count down from %d" % n, "Count backwards from %d:" % n],
                     ", ".join(str(i) for i in range(n, 0, -1)), 14)
    for x in range(2, 31):
        for k in (3, 4, 5, 6, 8, 10):
            book.add("count", ["Count from %d to %d:" % (x, x + k), "Count from %d to %d" % (x, x + k)],
                     ", ".join(str(i) for i in range(x, x + k + 1)), 3)
    for step, word in ((2, "twos"), (3, "threes"), (5, "fives"), (10, "tens")):
        for k in (4, 5, 6, 8, 10):
            book.add("count", ["Count by %s to %d:" % (word, step * k), "Count to %d by %s" % (step * k, word)],
                     ", ".join(str(step * i) for i in range(1, k + 1)), 14)


def lists(book):
    for line in facts.LISTS.split("\n"):
        name, three, five = line.split("|")
        names = [name] + (["colours"] if name == "colors" else [])
        for n, text in ((3, three), (5, five)):
            if text:
                qs = []
                for m in names:
                    qs += ["List %d %s:" % (n, m), "List %d %s" % (n, m), "Name %d %s." % (n, m),
                           "Name %s %s" % (facts.NUMBERS[n], m), "Give me %s %s." % (facts.NUMBERS[n], m),
                           "List %s %s:" % (facts.NUMBERS[n], m)]
                book.add("list", qs, text, 40 if name == "colors" and n == 3 else 20)


def words(book):
    for w in dict.fromkeys(facts.WORDS):
        book.add("word", ["Spell the word %s" % w, "How do you spell %s?" % w, "Spell: %s" % w],
                 "-".join(w.upper()), 10)
        book.add("word", ["What is the first letter of %s?" % w, "First letter of %s:" % w],
                 "The first letter of %s is %s." % (w, w[0].upper()), 8)
        book.add("word", ["What is the last letter of %s?" % w, "Last letter of %s:" % w],
                 "The last letter of %s is %s." % (w, w[-1].upper()), 8)
        book.add("word", ["How many letters does %s have?" % w, "How many letters are in the word %s?" % w],
                 "The word %s has %s letters." % (w, facts.NUMBERS[len(w)]), 8)
        if len(w) <= 5:
            book.add("word", ["Reverse the word %s" % w, "Write %s backwards" % w], w[::-1], 10)
    for x, y in pairs(facts.RHYMES):
        book.add("rhyme", ["What rhymes with %s?" % x, "Give a rhyme for %s." % x, "Rhyme for %s:" % x],
                 "%s rhymes with %s." % (cap(y), x), 12)


def fill(book, rng):
    """All short exchanges."""
    capitals(book)
    tables(book)
    order(book)
    arithmetic(book, rng)
    translations(book)
    counting(book)
    lists(book)
    words(book)
