"""Schemas for tests/tools/test_schema.py: written ones, each with values that it allows and some that it does not, and as
many made at random as are wanted, with values made for them."""
import math, random, string

S, I, N, B = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}


def obj(props, required=None, extra=False, **more):
    d = {"type": "object", "properties": props, "required": list(props) if required is None else required, **more}
    if extra is not None:
        d["additionalProperties"] = extra
    return d


TREE = {"$defs": {"node": obj({"v": I, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}})}, "$ref": "#/$defs/node"}
LIST = obj({"v": I, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}})
SHAPES = {"oneOf": [obj({"kind": {"const": "circle"}, "r": N}), obj({"kind": {"const": "rect"}, "w": N, "h": N})]}
ALIKE = {"anyOf": [obj({"a": S, "b": I}), obj({"a": S, "c": I}), obj({"a": {"type": "array", "items": S}})]}
PERSON = {"title": "Person", "description": "from pydantic", "$defs": {"Role": {"enum": ["admin", "user"], "title": "Role", "type": "string"}},
          "type": "object", "properties": {"name": {"title": "Name", "type": "string"}, "age": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                                           "role": {"allOf": [{"$ref": "#/$defs/Role"}], "default": "user"}, "tags": {"items": S, "type": "array"}}, "required": ["name"]}

# schema, values that it allows, texts that are no answer
WRITTEN = [
    ({}, [None, True, 1, -2.5, "x", [], {}, [1, [2, {"a": None}]], {"a": {"b": [True, False]}, "c": "ü\n\"\\"}], ["", "nul", "{", "[1,]", "{\"a\"}", "01", "1.", "'x'", "\"\x01\"", "\"\\ud800\"", "\"\\u12\"", "NaN"]),
    (True, [1, "x"], [""]),
    ({"type": "null"}, [None], ["0", "\"null\""]),
    (B, [True, False], ["1", "True"]),
    (I, [0, -1, 7, 123456789012345678, -999999999999999999], ["-0", "1.0", "01", "1e3", "1234567890123456789", "+1"]),
    (N, [0, -1, 0.5, -2.25, 1e21, 1.5e-7, 123456.789], [".5", "1.", "1e", "1e400", "--1", "Infinity"]),
    (S, ["", "a", "日本語 😀", "tab\tline\nquote\" back\\ \b\f\r\x1f", "\x7f\u2028", "x" * 300], ["a", "\"a", "\"\n\""]),
    ({"type": ["string", "null"]}, ["x", None], ["1"]),
    ({"type": ["integer", "number", "boolean"]}, [1, 2.5, True], ["null"]),
    ({"type": "string", "maxLength": 3}, ["", "abc", "äöü", "😀😀😀", "\n\n\n"], ["\"abcd\"", "\"\\u0061\\u0062\\u0063\\u0064\""]),
    ({"type": "string", "minLength": 3}, ["abc", "日本語", "abcdefgh"], ["\"ab\"", "\"\\u00e9\\u00e9\""]),
    ({"type": "string", "minLength": 2, "maxLength": 2}, ["ab", "éé"], ["\"a\"", "\"abc\""]),
    ({"maxLength": 2}, ["ab"], ["\"abc\"", "1"]),
    ({"type": "string", "pattern": "^[a-z]{2,4}$"}, ["ab", "wxyz"], ["\"a\"", "\"abcde\"", "\"AB\""]),
    ({"type": "string", "pattern": "b+"}, ["b", "abbc", "\"b\\"], ["\"\"", "\"a\""]),
    ({"type": "string", "pattern": "^(\\d{3}-\\d{4}|none)$"}, ["123-4567", "none"], ["\"123-456\""]),
    ({"type": "string", "pattern": "^a|b$"}, ["ax", "xb", "a", "b"], ["\"xa\"", "\"bx\""]),
    ({"type": "string", "pattern": "^[^\"\\\\]+$"}, ["a/b", "ü"], ["\"\"", "\"\\\"\""]),
    ({"type": "string", "pattern": "^\\S+ \\w*\\.?$"}, ["é x.", "a "], ["\"a\"", "\" a\""]),
    ({"type": "string", "pattern": "^\\n\\t\"$"}, ["\n\t\""], ["\"\""]),
    ({"type": "string", "pattern": "^[a-c]*$", "minLength": 2, "maxLength": 5}, ["ab", "abcab"], ["\"a\"", "\"abcabc\"", "\"ad\""]),
    ({"type": "string", "pattern": "^(aa)*$", "minLength": 3, "maxLength": 5}, ["aaaa"], ["\"aaa\"", "\"aaaaa\""]),
    ({"type": "string", "pattern": "^.{1,40}$"}, ["a b", "😀" * 40], ["\"\"", "\"a\\nb\""]),
    ({"type": "string", "format": "date"}, ["2024-02-29", "1999-12-31", "0400-02-29"], ["\"2023-02-29\"", "\"1900-02-29\"", "\"2024-13-01\"", "\"0000-01-01\""]),
    ({"type": "string", "format": "date-time"}, ["2024-02-29T23:59:59Z", "2024-01-01T00:00:00.125+02:00"], ["\"2024-01-01\"", "\"2024-01-01T24:00:00Z\""]),
    ({"type": "string", "format": "time"}, ["23:59:59Z", "00:00:00-05:30"], ["\"24:00:00Z\"", "\"1:00:00Z\""]),
    ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["\"123e4567\""]),
    ({"type": "string", "format": "ipv4"}, ["0.0.0.0", "255.255.255.255", "192.168.1.10"], ["\"256.1.1.1\"", "\"1.1.1\"", "\"01.1.1.1\""]),
    ({"type": "string", "format": "email"}, ["a@b.co", "first.last+tag@sub.example.org"], ["\"a\"", "\"a@b\"", "\"@b.co\""]),
    ({"type": "integer", "minimum": 3, "maximum": 17}, list(range(3, 18)), ["2", "18", "3.0", "-5"]),
    ({"type": "integer", "minimum": -12, "exclusiveMaximum": 5}, list(range(-12, 5)), ["5", "-13"]),
    ({"type": "integer", "exclusiveMinimum": 0}, [1, 10, 999], ["0", "-1"]),
    ({"type": "integer", "minimum": 0.5, "maximum": 2.5}, [1, 2], ["0", "3"]),
    ({"type": "integer", "maximum": -1000}, [-1000, -1001, -99999], ["-999", "0", "1"]),
    ({"type": "integer", "minimum": 1000000000000000000000}, [], []),
    ({"type": "number", "minimum": 0, "maximum": 1}, [0, 1, 0.5, 0.999, 0.0001], ["1.01", "-0.1", "2", "1e-1"]),
    ({"type": "number", "exclusiveMinimum": 0}, [0.001, 5, 8000000000], ["0", "0.0", "-1"]),
    ({"type": "number", "minimum": -1.5, "exclusiveMaximum": 2.25}, [-1.5, -1.25, 0, 2.2, 2.249], ["2.25", "-1.51"]),
    ({"type": "number", "maximum": -0.125}, [-0.125, -0.5, -3], ["0", "-0.1"]),
    ({"enum": ["red", "green", "gr\"een", "日本", "", 7, -1.5, 0.1, None, True, [1, "x"], {"k": [], "l": {}}]}, ["red", "green", "gr\"een", "日本", "", 7, -1.5, 0.1, None, True, [1, "x"], {"k": [], "l": {}}], ["\"re\"", "8", "false", "\"redgreen\""]),
    ({"type": "string", "enum": ["a", 1, "b"]}, ["a", "b"], ["1"]),
    ({"const": {"a": [1, 2], "b": "x\ny"}}, [{"a": [1, 2], "b": "x\ny"}], ["{}"]),
    ({"enum": [f"item {i}" for i in range(300)]}, ["item 0", "item 299"], ["\"item 300\"", "\"item\""]),
    ({"type": "array"}, [[], [1, "x", None]], ["{}"]),
    ({"type": "array", "items": I}, [[], [1], [1, -2, 3]], ["[\"a\"]", "[1,]", "[,1]", "[1 2]"]),
    ({"type": "array", "items": I, "minItems": 2, "maxItems": 3}, [[1, 2], [1, 2, 3]], ["[]", "[1]", "[1, 2, 3, 4]"]),
    ({"type": "array", "items": B, "minItems": 12}, [[True] * 12, [False] * 20], ["[true]"]),
    ({"type": "array", "items": B, "maxItems": 0}, [[]], ["[true]"]),
    ({"type": "array", "items": False}, [[]], ["[1]"]),
    ({"type": "array", "prefixItems": [I, S], "items": B}, [[], [1], [1, "a"], [1, "a", True, False]], ["[\"a\"]", "[1, \"a\", 3]"]),
    ({"type": "array", "prefixItems": [I, S], "items": False, "minItems": 1}, [[1], [1, "a"]], ["[]", "[1, \"a\", true]"]),
    ({"type": "array", "prefixItems": [I, S], "minItems": 4, "maxItems": 5}, [[1, "a", None, {}], [1, "a", 1, 2, 3]], ["[1, \"a\"]", "[1, \"a\", 1]"]),
    ({"type": "array", "items": {"type": "array", "items": {"type": "array", "items": I, "maxItems": 1}, "maxItems": 2}, "minItems": 1, "maxItems": 2}, [[[]], [[[1], []], []]], ["[]", "[[[1, 2]]]"]),
    ({"type": "object"}, [{}, {"a": 1}, {"a": {"b": []}, "": None}], ["[]", "{\"a\":}", "{a: 1}"]),
    (obj({}), [{}], ["{\"a\": 1}"]),
    (obj({"a": I, "b": S}), [{"a": 1, "b": "x"}], ["{}", "{\"a\": 1}", "{\"b\": \"x\", \"a\": 1}", "{\"a\": 1, \"b\": \"x\", \"c\": 1}"]),
    (obj({"a": I, "b": S, "c": B}, []), [{}, {"a": 1}, {"b": "x"}, {"c": True}, {"a": 1, "c": False}, {"a": 1, "b": "", "c": True}], ["{\"c\": true, \"a\": 1}", "{,}", "{\"a\": 1,}"]),
    (obj({"a": I, "b": S, "c": B, "d": N}, ["b"]), [{"b": "x"}, {"a": 1, "b": "x"}, {"b": "x", "d": 1}, {"a": 1, "b": "x", "c": True, "d": 0.5}], ["{}", "{\"a\": 1}", "{\"c\": true}"]),
    (obj({"a": I}, [], extra=True), [{}, {"a": 1}, {"a": 1, "z": [1]}, {"b": None, "c": {}}], ["{\"a\": \"x\"}", "{\"b\": 1, \"a\": \"x\"}"]),
    (obj({"a": I}, None, extra=None), [{"a": 1}, {"a": 1, "aa": "x", "A": 2, "": 1}], ["{\"b\": 1}", "{\"a\": 1, \"a\": \"x\"}", "{\"a\": 1, \"\\u0061\": \"x\"}"]),
    (obj({}, [], extra=I), [{}, {"x": 1, "y": 2}], ["{\"x\": \"1\"}"]),
    (obj({"a": S}, ["a", "z"], extra=I), [{"a": "x", "z": 1}, {"a": "x", "z": 1, "y": 2}], ["{\"a\": \"x\"}", "{\"a\": \"x\", \"z\": \"y\"}"]),
    (obj({"a\"b\\c\n": I, "ключ": S}), [{"a\"b\\c\n": 1, "ключ": "x"}], ["{}"]),
    (obj({"a": False, "b": I}, ["b"]), [{"b": 1}], ["{\"a\": 1, \"b\": 2}"]),
    ({"anyOf": [I, S]}, [1, "x"], ["true"]),
    ({"anyOf": [{"type": "array", "items": I}, {"type": "array", "items": S}]}, [[], [1], ["a", "b"]], ["[1, \"a\"]"]),
    (ALIKE, [{"a": "x", "b": 1}, {"a": "x", "c": 1}, {"a": ["x"]}], ["{\"a\": \"x\"}", "{\"a\": [\"x\"], \"b\": 1}"]),
    (SHAPES, [{"kind": "circle", "r": 1}, {"kind": "rect", "w": 1, "h": 2.5}], ["{\"kind\": \"circle\", \"w\": 1, \"h\": 1}"]),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}, ["x", 3, None], ["1.5", "true"]),
    ({"oneOf": [{"enum": ["a", "b"]}, {"const": "c"}, {"type": "integer"}]}, ["a", "c", 1], ["\"d\""]),
    ({"allOf": [obj({"a": I})]}, [{"a": 1}], ["{}"]),
    (TREE, [{"v": 1, "children": []}, {"v": 1, "children": [{"v": 2, "children": [{"v": 3, "children": []}]}, {"v": 4, "children": []}]}], ["{\"v\": 1}"]),
    (LIST, [{"v": 1, "next": None}, {"v": 1, "next": {"v": 2, "next": {"v": 3, "next": None}}}], ["{\"v\": 1, \"next\": {}}"]),
    (PERSON, [{"name": "A"}, {"name": "A", "age": None, "role": "user", "tags": ["x"]}, {"name": "A", "age": 3, "other": 1}], ["{\"age\": 1}", "{\"name\": \"A\", \"role\": \"root\"}"]),
    ({"$ref": "#/definitions/a%25b~1c", "definitions": {"a%b/c": I}}, [1], ["\"x\""]),
    (obj({"q": {"type": "string", "enum": ["lat", "late", "later"]}, "n": {"type": "integer", "enum": [1, 10, 100]}}), [{"q": "late", "n": 10}, {"q": "later", "n": 100}, {"q": "lat", "n": 1}], ["{\"q\": \"la\", \"n\": 1}"]),
    (obj({f"field_{i}": {"type": "string", "maxLength": 4} for i in range(40)}, [f"field_{i}" for i in range(0, 40, 7)]), [{f"field_{i}": "x" for i in range(40)}, {f"field_{i}": "" for i in range(0, 40, 7)}], ["{}"]),
]

# schema, what the message must hold: the place, and what is the matter
REFUSED = [
    ({"not": {}}, "/not"),
    (obj({"a": {"type": "array", "items": {"uniqueItems": True}}}), "/properties/a/items/uniqueItems"),
    (obj({"a/b~": {"type": "integer", "multipleOf": 3}}), "/properties/a~1b~0/multipleOf"),
    ({"type": "object", "patternProperties": {}}, "/patternProperties"),
    ({"type": "object", "minProperties": 1}, "/minProperties"),
    ({"if": {}, "then": {}}, "/if"),
    ({"allOf": [I, N]}, "/allOf"),
    ({"type": "string", "anyOf": [S]}, "/type"),
    ({"$ref": "#/$defs/x", "minimum": 1, "$defs": {"x": I}}, "/minimum"),
    ({"oneOf": [S, {"maxLength": 3}]}, "/oneOf"),
    ({"oneOf": [I, N]}, "/oneOf"),
    ({"oneOf": [obj({"a": I}), obj({"a": I}, extra=True)]}, "/oneOf"),
    ({"type": "string", "format": "hostname"}, "/format"),
    ({"type": "string", "pattern": "(?=a)"}, "/pattern"),
    ({"type": "string", "pattern": "\\bx"}, "/pattern"),
    ({"type": "string", "pattern": "(a)\\1"}, "/pattern"),
    ({"type": "number", "minimum": 0.1234567890123456}, "/minimum"),
    ({"$ref": "other.json#/x"}, "/$ref"),
    ({"$dynamicRef": "#x"}, "/$dynamicRef"),
    ({"type": "array", "items": [I]}, "/items"),
    ({"enum": [1], "minimum": 1}, "/minimum"),
]
# No schemas, or ones that nothing satisfies: QM_ERR_ARG
WRONG = [
    (1, "a schema is"), ({"type": "text"}, "/type"), ({"type": []}, "/type"), ({"properties": []}, "/properties"), ({"required": "a"}, "/required"),
    ({"type": "string", "minLength": -1}, "/minLength"), ({"type": "string", "maxLength": "3"}, "/maxLength"), ({"anyOf": []}, "/anyOf"),
    ({"enum": {}}, "/enum"), ({"enum": []}, "nothing"), (False, "nothing"), ({"type": "string", "minLength": 3, "maxLength": 2}, "nothing"),
    ({"type": "array", "minItems": 2, "items": False}, "nothing"), (obj({"a": False}), "nothing"), ({"$ref": "#/nowhere"}, "/$ref"),
    ({"$ref": "#"}, "itself"), ({"anyOf": [{"$ref": "#"}, S]}, "itself"), (obj({"next": {"$ref": "#"}}), "nothing"),
    ({"type": "string", "pattern": "a("}, "/pattern"), ({"type": "string", "pattern": "[z-a]"}, "/pattern"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "nothing"), ({"type": "integer", "minimum": "1"}, "/minimum"),
    ({"type": "array", "prefixItems": {}}, "/prefixItems"), (obj({}, ["a"]), "nothing"), (obj({"a": 3}), "/properties/a"),
]


def written_value(v):
    return v


class Maker:
    """Random schemas of the subset, and random values for them."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def schema(self, depth=0):
        r = self.r
        kinds = ["string", "pattern", "length", "integer", "irange", "number", "nrange", "enum", "boolean", "null", "const"]
        if depth < 3:
            kinds += ["array", "tuple", "object", "object", "object", "anyOf", "ref"]
        return getattr(self, "s_" + r.choice(kinds))(depth)

    def s_string(self, d): return {"type": "string"}
    def s_boolean(self, d): return {"type": "boolean"}
    def s_null(self, d): return {"type": "null"}
    def s_integer(self, d): return {"type": "integer"}
    def s_number(self, d): return {"type": "number"}
    def s_const(self, d): return {"const": self.any_value(1)}
    def s_enum(self, d): return {"enum": [self.any_value(1) for _ in range(self.r.randint(1, 6))]}
    def s_pattern(self, d): return {"type": "string", "pattern": self.r.choice(["^[a-f0-9]{4,8}$", "^(on|off|auto)$", "^[A-Z][a-z]+( [A-Z][a-z]+)?$", "^v?\\d+\\.\\d+\\.\\d+$", "^#[0-9A-F]{6}$"])}

    def s_length(self, d):
        a = self.r.randint(0, 5)
        return {"type": "string", **self.r.choice([{"minLength": a}, {"maxLength": a}, {"minLength": a, "maxLength": a + self.r.randint(0, 9)}])}

    def s_irange(self, d):
        a = self.r.randint(-1500, 1500)
        return {"type": "integer", self.r.choice(["minimum", "exclusiveMinimum"]): a, self.r.choice(["maximum", "exclusiveMaximum"]): a + self.r.randint(2, 2000)}

    def s_nrange(self, d):
        a = round(self.r.uniform(-50, 50), self.r.randint(0, 3))
        return {"type": "number", self.r.choice(["minimum", "exclusiveMinimum"]): a, self.r.choice(["maximum", "exclusiveMaximum"]): round(a + self.r.uniform(1, 90), 2)}

    def s_array(self, d):
        a = self.r.randint(0, 2)
        return {"type": "array", "items": self.schema(d + 1), **self.r.choice([{}, {"minItems": a}, {"maxItems": a + 1}, {"minItems": a, "maxItems": a + self.r.randint(0, 3)}])}

    def s_tuple(self, d): return {"type": "array", "prefixItems": [self.schema(d + 1) for _ in range(self.r.randint(1, 3))], "items": self.r.choice([False, {"type": "boolean"}]), "minItems": self.r.randint(0, 1)}

    def s_object(self, d):
        names = self.r.sample(["id", "name", "ident", "n", "value", "größe", "a b", "quo\"te", "items", "x" * 20], self.r.randint(0, 5))
        props = {n: self.schema(d + 1) for n in names}
        return obj(props, [n for n in names if self.r.random() < .6], self.r.choice([False, False, False, True, {"type": "integer"}]))

    def s_anyOf(self, d): return {"anyOf": [self.schema(d + 1) for _ in range(self.r.randint(1, 3))]}
    def s_ref(self, d): return {"$ref": "#/$defs/" + self.r.choice(["leaf", "rec"])}

    def top(self):
        s = self.schema()
        return {**s, "$defs": {"leaf": {"type": ["string", "null"], "maxLength": 3}, "rec": obj({"v": {"type": "boolean"}, "more": {"type": "array", "items": {"$ref": "#/$defs/rec"}, "maxItems": 2}}, ["v"])}}

    # ---- values ----
    def text(self, lo=0, hi=8): return "".join(self.r.choice(string.ascii_letters + " äß語😀\"\\\n/") for _ in range(self.r.randint(lo, hi)))

    def any_value(self, depth=0):
        r = self.r
        k = r.randint(0, 5 if depth > 2 else 7)
        if k == 6:
            return [self.any_value(depth + 1) for _ in range(r.randint(0, 2))]
        if k == 7:
            return {self.text(1, 4): self.any_value(depth + 1) for _ in range(r.randint(0, 2))}
        return [None, True, r.randint(-999, 999), round(r.uniform(-9, 9), 3), self.text(), False][k]

    def value(self, s, root, depth=0):
        """A value of s as the guide wants it: properties in the schema's order. None of any type if there is no telling."""
        r = self.r
        if s is True or not s:
            return self.any_value(2)
        if "$ref" in s:
            return self.value(root["$defs"][s["$ref"].rsplit("/", 1)[1]], root, depth)
        if "const" in s:
            return s["const"]
        if "enum" in s:
            return r.choice(s["enum"])
        if "anyOf" in s:
            return self.value(r.choice(s["anyOf"]), root, depth)
        t = s["type"] if isinstance(s["type"], str) else r.choice(s["type"])
        if t == "null" or t == "boolean":
            return None if t == "null" else r.random() < .5
        if t in ("integer", "number"):
            lo = s.get("minimum", s.get("exclusiveMinimum", -10**6))
            hi = s.get("maximum", s.get("exclusiveMaximum", 10**6))
            if t == "integer":
                return r.randint(lo + ("exclusiveMinimum" in s), hi - ("exclusiveMaximum" in s))
            v = round(r.uniform(lo, hi), 4)
            return v if lo < v < hi else (lo + hi) / 2
        if t == "string":
            if "pattern" in s:
                return {"^[a": "c0ffee", "^(o": "auto", "^[A": "Ada Byron", "^v?": "v1.20.3", "^#[": "#00FFA7"}[s["pattern"][:3]]
            lo = s.get("minLength", 0)
            return self.text(lo, s.get("maxLength", lo + 8))
        if t == "array":
            pre = s.get("prefixItems", [])
            n = r.randint(s.get("minItems", 0), s.get("maxItems", s.get("minItems", 0) + len(pre) + 2))
            if depth > 4:
                n = s.get("minItems", 0)
            rest = s.get("items", True)
            if rest is False:
                n = min(n, len(pre))
            return [self.value(pre[i] if i < len(pre) else rest, root, depth + 1) for i in range(n)]
        out = {k: self.value(x, root, depth + 1) for k, x in s["properties"].items() if k in s["required"] or r.random() < .5}
        extra = s.get("additionalProperties", True)
        if extra is not False and r.random() < .5:
            out["extra " + self.text(0, 3)] = self.value(extra, root, depth + 1)
        return out


def same(a, b):
    """Equal as JSON: 1 and true are not."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    return math.isclose(a, b) if isinstance(a, float) and isinstance(b, float) else a == b
