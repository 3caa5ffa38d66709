/* answer_cases.c: see answer_cases.h. */
#include "answer_cases.h"

const char answer_tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"every type\", \"parameters\": {"
    "\"type\": \"object\", \"properties\": {\"s\": {\"type\": \"string\"}, \"i\": {\"type\": \"integer\"}, \"n\": "
    "{\"type\": "
    "\"number\"}, \"b\": {\"type\": \"boolean\"}, \"z\": {\"type\": \"null\"}, \"o\": {\"type\": \"object\"}, \"a\": "
    "{\"type\": "
    "\"array\", \"items\": {\"type\": \"string\"}}, \"maybe\": {\"anyOf\": [{\"type\": \"string\"}, {\"type\": "
    "\"null\"}]}, "
    "\"list\": {\"type\": [\"string\", \"integer\"]}, \"e\": {\"enum\": [\"on\", \"off\"]}, \"mixed\": {\"enum\": "
    "[\"auto\", "
    "1, null]}, \"c\": {\"const\": 7}, \"r\": {\"$ref\": \"#/$defs/point\"}, \"loop\": {\"$ref\": \"#/$defs/loop\"}, "
    "\"any\": {}}, \"$defs\": {\"point\": {\"type\": \"object\"}, \"loop\": {\"$ref\": \"#/$defs/loop\"}}, "
    "\"required\": "
    "[\"s\"]}}}, {\"type\": \"function\", \"function\": {\"name\": \"write_file\", \"parameters\": {\"type\": "
    "\"object\", "
    "\"properties\": {\"path\": {\"type\": \"string\"}, \"content\": {\"type\": \"string\"}}}}}, {\"type\": "
    "\"function\", "
    "\"function\": {\"name\": \"now\"}}, {\"type\": \"function\", \"name\": \"flat\", \"parameters\": {\"type\": "
    "\"object\", "
    "\"properties\": {}, \"additionalProperties\": {\"type\": \"integer\"}}}]";

#define CALL "<tool_call>\n"
#define END "\n</tool_call>"
#define JSON(args) CALL "{\"name\": \"f\", \"arguments\": " args "}" END
#define FUN(f, params) CALL "<function=" f ">\n" params "</function>" END
#define PAR(key, value) "<parameter=" key ">\n" value "\n</parameter>\n"
#define F(args) C "f" A args E

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* what a case does not say is 0 */
const answer_case answer_cases[] = {
    /* no tags, or none that count */
    {"", ""},
    {"Hello, world.\n", T "Hello, world.\n"},
    {"  two\n\nlines  ", T "  two\n\nlines  "},
    {"a < b, <b>, </tool_call>, <tool>", T "a < b, <b>, </tool_call>, <tool>"},
    {"<tool_call> is a tag", T "<tool_call> is a tag"},
    {"inline <function=f>\n<parameter=s>", T "inline <function=f>\n<parameter=s>"},
    {JSON("{}"), T JSON("{}"), .no_tools = 1},
    {FUN("f", PAR("s", "x")), T FUN("f", PAR("s", "x")), .no_tools = 1},
    {"caf\xc3\xa9 \xf0\x9f\x98\x80 \xe4\xbd\xa0\xe5\xa5\xbd",
     T "caf\xc3\xa9 \xf0\x9f\x98\x80 \xe4\xbd\xa0\xe5\xa5\xbd"},
    {"a\xff\xc3(\xe4\xbd", T "a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd"},
    /* stop strings, of the raw text */
    {"one two three", T "one ", .stop = "two"},
    {"<think>a</think>b", H "a", .thinking = 1, .stop = "</think>"},
    {FUN("f", PAR("s", "ab END cd")), C "f" A "{\"s\": \"ab ", .stop = "END"},
    {JSON("{\"s\": \"ab END cd\"}"), C "f" A "{\"s\": \"ab ", .stop = "END"},
    {JSON("{\"i\": 12}") "\nmore", F("{\"i\": 12}"), .stop = "more"},
    /* thinking */
    {"<think>\nHm.\n\nSo.\n</think>\n\nYes.\n", H "Hm.\n\nSo." T "Yes.\n", .thinking = 1},
    {"\n<think>\nHm.\n</think>Yes.", H "Hm." T "Yes.", .thinking = 1},
    {"<think>\n\n</think>\n\nYes.", T "Yes.", .thinking = 1},
    {"<think>\nHm.", H "Hm.", .thinking = 1},
    {"<think>\nHm. \n", H "Hm.", .thinking = 1},
    {"<think>\nHm.\n</think>", H "Hm.", .thinking = 1},
    {"No. <think>a</think>", T "No. <think>a</think>", .thinking = 1},
    {"  No.", T "  No.", .thinking = 1},
    {"<think>a</think>b", T "<think>a</think>b"},
    {"Hm.\n</think>\n\nYes.", H "Hm." T "Yes.", .thinking = 2},
    {"\n<think>\nHm.\n</think>\n\nYes.", H "Hm." T "Yes.", .thinking = 2},
    {"</think>\n\nYes.", T "Yes.", .thinking = 2},
    {"Hm.", H "Hm.", .thinking = 2},
    {"a</think>b</think>c", H "a" T "b</think>c", .thinking = 2},
    {"<think>" JSON("{}") "</think>" JSON("{\"i\": 1}"), H JSON("{}") F("{\"i\": 1}"), .thinking = 1},
    {"Hm.\n</think>\n\n" FUN("f", PAR("i", "1")), H "Hm." F("{\"i\": 1}"), .thinking = 2},
    {"Hm." FUN("now", ""), H "Hm." FUN("now", ""), .thinking = 2},
    /* JSON calls */
    {JSON("{\"s\": \"x\", \"i\": 1}"), F("{\"s\": \"x\", \"i\": 1}")},
    {JSON("{}"), F("{}")},
    {"I look.\n\n" JSON("{}") "\n" JSON("{\"i\": 2}") "\n\nDone.", T "I look." F("{}") F("{\"i\": 2}") T "Done."},
    {"<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"x\"}}</tool_call>", F("{\"s\":\"x\"}")},
    {JSON("{\n  \"s\": \"x\",\n  \"a\": [1, 2]\n}"), F("{\n  \"s\": \"x\",\n  \"a\": [1, 2]\n}")},
    {JSON("{\"s\": \"}]{[\\\"</tool_call>\\\\\"}"), F("{\"s\": \"}]{[\\\"</tool_call>\\\\\"}")},
    {JSON("{\"s\": \"\\u00e9\\ud83d\\ude00\"}"), F("{\"s\": \"\\u00e9\\ud83d\\ude00\"}")},
    {JSON("{\"s\": \"\\ud83d x \\ude00\\ud83d\\ud83d\\ude00\\ud83d\\n\\ud83d\"}"),
     F("{\"s\": \"\\ufffd x \\ufffd\\ufffd\\ud83d\\ude00\\ufffd\\n\\ufffd\"}")},
    {JSON("{\"s\": \"two\nlines\tand \\d+ \\u12 \\\n\"}"), F("{\"s\": \"two\\nlines\\tand \\\\d+ \\\\u12 \\\\\\n\"}")},
    {JSON("{\"b\": True, \"c\": False, \"z\": None, \"n\": -1.5e+3,}"),
     F("{\"b\": true, \"c\": false, \"z\": null, \"n\": -1.5e+3}")},
    {JSON("{\"a\": [1, [2, {\"b\": []}], ], \"o\": {\"p\": {}, }}"),
     F("{\"a\": [1, [2, {\"b\": []}] ], \"o\": {\"p\": {} }}")},
    {CALL "{\"arguments\": {\"i\": 1}, \"name\": \"f\"}" END, F("{\"i\": 1}")},
    {CALL "{\"name\": \"f\", \"arguments\": \"{\\\"s\\\": \\\"a\\\\nb\\\"}\"}" END, F("{\"s\": \"a\\nb\"}")},
    {CALL "{\"arguments\": \"{}\", \"name\": \"f\"}" END, F("{}")},
    {CALL "{\"name\": \"f\", \"arguments\": \"\"}" END, F("{}")},
    {CALL "{\"name\": \"f\", \"arguments\": null}" END, F("{}")},
    {CALL "{\"name\": \"now\"}" END, C "now" A "{}" E},
    {CALL "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"i\": 1}, \"id\": 3}" END, F("{\"i\": 1}")},
    {CALL "{\"name\": \"f\", \"arguments\": {\"i\": 1}}}" END " So.", F("{\"i\": 1}") T "So."},
    {CALL "{\"name\": \"f\", \"arguments\": {\"i\": 1}" END " So.", F("{\"i\": 1}") T "So."},
    {CALL "{\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": 2" END, F("{\"a\": [1, {\"b\": 2\n}]}")},
    {CALL "{\"arguments\": {\"i\": 1}, \"name\": \"f\"" END, F("{\"i\": 1}")},
    {CALL "{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"now\", \"arguments\": {}}" END, F("{}") C "now" A "{}" E},
    {CALL "{\"name\": \"f\", \"arguments\": {}}\nNo tag.", F("{}") T "No tag."},
    {CALL "{\"name\": \"f\", \"arguments\": {}}\n" JSON("{}"), F("{}") F("{}")},
    {CALL "{\"name\": \"f\", \"arguments\": {}}", F("{}")},
    {CALL "{\"name\": \"f\", \"arguments\": {\"i\": 1}", F("{\"i\": 1}")},
    {JSON("{}") END, F("{}")},
    {JSON("{}") "</tool", F("{}")},
    {CALL CALL "{\"name\": \"f\", \"arguments\": {}}" END, T "<tool_call>" F("{}")},
    /* JSON that is no call */
    {CALL "{\"name\": \"g\", \"arguments\": {}}" END, T CALL "{\"name\": \"g\", \"arguments\": {}}" END},
    {"So:\n" CALL "{\"name\": 5}" END, T "So:\n" CALL "{\"name\": 5}" END},
    {CALL "{\"arguments\": {}}" END, T CALL "{\"arguments\": {}}" END},
    {CALL "{\"name\": \"f\", \"arguments\": [1]}" END, T CALL "{\"name\": \"f\", \"arguments\": [1]}" END},
    {CALL "{\"name\": \"f\", \"arguments\": \"{\\\"s\\\": }\"}" END,
     T CALL "{\"name\": \"f\", \"arguments\": \"{\\\"s\\\": }\"}" END},
    {CALL "{\"name\": \"f\", \"argumens\": {}}" END, T CALL "{\"name\": \"f\", \"argumens\": {}}" END},
    {CALL "{name: \"f\"}" END, T CALL "{name: \"f\"}" END},
    {CALL "{\"name\": \"f\", \"argu", T CALL "{\"name\": \"f\", \"argu"},
    {CALL "[{\"name\": \"f\"}]" END, T CALL "[{\"name\": \"f\"}]" END},
    {CALL "{}" END JSON("{}"), T CALL "{}" END F("{}")},
    {CALL "\n\n", T CALL "\n\n"},
    /* JSON calls that break off */
    {CALL "{\"name\": \"f\", \"arguments\": {\"i\": 1, \"s\": \"ab", C "f" A "{\"i\": 1, \"s\": \"ab"},
    {CALL "{\"name\": \"f\", \"arguments\": {\"i\": 12", C "f" A "{\"i\": 12"},
    {CALL "{\"name\": \"f\", \"arguments\": {\"b\": Tr", C "f" A "{\"b\": tr"},
    {CALL "{\"name\": \"f\", \"arguments\": {\"s\": \"\\u00", C "f" A "{\"s\": \"\\u00"},
    {CALL "{\"name\": \"f\", \"arguments\": {\"i\": 1, ", C "f" A "{\"i\": 1, "},
    {JSON("{\"s\": tru, \"i\": 3}"), C "f" A "{\"s\": " T "tru, \"i\": 3}}" END},
    {JSON("{\"s\": \"a\" b\"}"), C "f" A "{\"s\": \"a\" " T "b\"}}" END},
    {JSON("{\"i\": 1]"), C "f" A "{\"i\": 1" T "]}" END},
    {CALL "{\"name\": \"f\", \"arguments\": {\"i\": 1}, \"more\": 2}" END, F("{\"i\": 1}") T "\"more\": 2}" END},
    /* XML calls */
    {FUN("f", PAR("s", "x") PAR("i", "1")), F("{\"s\": \"x\", \"i\": 1}")},
    {FUN("now", ""), C "now" A "{}" E},
    {"I look.\n\n" FUN("f", PAR("i", "1")) "\n" FUN("now", "") "\n", T "I look." F("{\"i\": 1}") C "now" A "{}" E},
    {"<tool_call><function=f><parameter=s>x</parameter><parameter=i>1</parameter></function></tool_call>",
     F("{\"s\": \"x\", \"i\": 1}")},
    {"I look.\n\n<function=f>\n" PAR("i", "1") "</function>\n</tool_call>\n\nDone.",
     T "I look." F("{\"i\": 1}") T "Done."},
    {"<function=f>\n" PAR("i", "1") "</function>", F("{\"i\": 1}")},
    {FUN("f", PAR("i", "1")) "\n<function=now>\n</function>", F("{\"i\": 1}") C "now" A "{}" E},
    {CALL "<function=now>\n</function>\n<function=now>\n</function>" END, C "now" A "{}" E C "now" A "{}" E},
    /* their values by type */
    {FUN("f", PAR("s", "5") PAR("i", "5") PAR("n", "-0.5") PAR("b", "true") PAR("z", "null")),
     F("{\"s\": \"5\", \"i\": 5, \"n\": -0.5, \"b\": true, \"z\": null}")},
    {FUN("f", PAR("s", "null") PAR("i", "null") PAR("b", "False") PAR("z", "None") PAR("n", "1e3")),
     F("{\"s\": \"null\", \"i\": null, \"b\": false, \"z\": null, \"n\": 1e3}")},
    {FUN("f", PAR("i", "five") PAR("b", "yes") PAR("n", "") PAR("o", "{'a': 1}")),
     F("{\"i\": \"five\", \"b\": \"yes\", \"n\": \"\", \"o\": \"{'a': 1}\"}")},
    {FUN("f", PAR("o", "{\"a\": {\"b\": [1, 2]}}") PAR("a", "[\n  \"x\",\n  \"</parameter>\"\n]")),
     F("{\"o\": {\"a\": {\"b\": [1, 2]}}, \"a\": [\n  \"x\",\n  \"</parameter>\"\n]}")},
    {FUN("f", PAR("o", "{\"a\": True,}") PAR("a", "[1, 2")), F("{\"o\": {\"a\": true}, \"a\": \"[1, 2\"}")},
    {FUN("f", PAR("maybe", "text") PAR("list", "12")), F("{\"maybe\": \"text\", \"list\": 12}")},
    {FUN("f", PAR("maybe", "null") PAR("list", "12 apples")), F("{\"maybe\": null, \"list\": \"12 apples\"}")},
    {FUN("f", PAR("maybe", "nullable") PAR("list", "[1]")), F("{\"maybe\": \"nullable\", \"list\": \"[1]\"}")},
    {FUN("f", PAR("maybe", "5") PAR("list", "null") PAR("e", "7")),
     F("{\"maybe\": \"5\", \"list\": \"null\", \"e\": \"7\"}")},
    {FUN("f", PAR("e", "on") PAR("mixed", "1") PAR("c", "7")), F("{\"e\": \"on\", \"mixed\": 1, \"c\": 7}")},
    {FUN("f", PAR("mixed", "auto") PAR("mixed", "null")), F("{\"mixed\": \"auto\", \"mixed\": null}")},
    {FUN("f", PAR("r", "{\"x\": 1}") PAR("loop", "[1]") PAR("any", "true")),
     F("{\"r\": {\"x\": 1}, \"loop\": [1], \"any\": true}")},
    {FUN("f", PAR("any", "so") PAR("any", "\"so\"") PAR("unknown", "5")),
     F("{\"any\": \"so\", \"any\": \"\\\"so\\\"\", \"unknown\": \"5\"}")},
    {FUN("flat", PAR("x", "5") PAR("y", "6")), C "flat" A "{\"x\": 5, \"y\": 6}" E},
    {FUN("now", PAR("zone", "5")), C "now" A "{\"zone\": \"5\"}" E},
    /* what values may hold */
    {FUN("f", PAR("s", "a \"b\" \\ c\td\r\n\x01\x7f")), F("{\"s\": \"a \\\"b\\\" \\\\ c\\td\\r\\n\\u0001\x7f\"}")},
    {FUN("f", PAR("s", "\n\n two\n\n")), F("{\"s\": \"\\n\\n two\\n\\n\"}")},
    {FUN("f", PAR("s", "")), F("{\"s\": \"\"}")},
    {FUN("f", "<parameter=s>\n</parameter>\n" PAR("i", "1")), F("{\"s\": \"\", \"i\": 1}")},
    {FUN("f", PAR("s", "if (a < b) { <b>x</b> </p> }")), F("{\"s\": \"if (a < b) { <b>x</b> </p> }\"}")},
    {FUN("f", PAR("s", "</parameter> is a tag, </function> too\n</function> x\n</tool_call> y")),
     F("{\"s\": \"</parameter> is a tag, </function> too\\n</function> x\\n</tool_call> y\"}")},
    {FUN("f", PAR("s", "<parameter name=\"a\">1</parameter>\n<parameter name=\"b\">2</parameter>")),
     F("{\"s\": \"<parameter name=\\\"a\\\">1</parameter>\\n<parameter name=\\\"b\\\">2</parameter>\"}")},
    {FUN("f", PAR("s", "\n<parameter=zzz>\nno such\n<function=nope>\n<parameter=")),
     F("{\"s\": \"\\n<parameter=zzz>\\nno such\\n<function=nope>\\n<parameter=\"}")},
    {FUN("write_file", PAR("path", "a b/\xc3\xa9.txt") PAR("content", "caf\xc3\xa9\n\xf0\x9f\x98\x80")),
     C "write_file" A "{\"path\": \"a b/\xc3\xa9.txt\", \"content\": \"caf\xc3\xa9\\n\xf0\x9f\x98\x80\"}" E},
    /* tags that are missing or there twice */
    {CALL "<function=f>\n<parameter=s>\nx\n<parameter=i>\n1\n</function>" END, F("{\"s\": \"x\", \"i\": 1}")},
    {CALL "<function=f>\n<parameter=i>\n1\n</function>" END JSON("{}"), F("{\"i\": 1}") F("{}")},
    {CALL "<function=f>\n<parameter=i>\n1\n</tool_call>\n" JSON("{}"), F("{\"i\": 1}") F("{}")},
    {CALL "<function=f>\n" PAR("i", "1") "</tool_call>", F("{\"i\": 1}")},
    {CALL "<function=f>\n" PAR("i", "1") FUN("now", ""), F("{\"i\": 1}") C "now" A "{}" E},
    {CALL "<function=f>\n" PAR("i", "1") "<function=now>\n</function>" END, F("{\"i\": 1}") C "now" A "{}" E},
    {CALL "<function=f>\n" PAR("s", "x") "</parameter>\n" PAR("i", "1") "</function>" END,
     F("{\"s\": \"x\", \"i\": 1}")},
    {CALL "<function=f>\n" PAR("s", "x\n<parameter name=\"a\">1</parameter>") "</function>" END,
     F("{\"s\": \"x\\n<parameter name=\\\"a\\\">1</parameter>\"}")},
    {CALL "<function=f>\n" PAR("i", "1"), F("{\"i\": 1}")},
    {CALL "<function=f>\n" PAR("i", "1") "</func", F("{\"i\": 1}")},
    {FUN("f", PAR("i", "1")) "\n</tool_call>\n\nDone.", F("{\"i\": 1}") T "Done."},
    /* XML that is no call */
    {FUN("g", PAR("s", "x")), T FUN("g", PAR("s", "x"))},
    {"So:\n\n<function=g>\n" PAR("s", "x") "</function>", T "So:\n\n<function=g>\n" PAR("s", "x") "</function>"},
    {FUN("f", "no parameter"), T FUN("f", "no parameter")},
    {CALL "<function=f>\n", T CALL "<function=f>\n"},
    {CALL "<function=f", T CALL "<function=f"},
    {CALL "<function=f\n<parameter=s>", T CALL "<function=f\n<parameter=s>"},
    {FUN("f", "<parameter=>x"), T FUN("f", "<parameter=>x")},
    /* XML calls that break off */
    {CALL "<function=f>\n<parameter=s>\nab\n</para", C "f" A "{\"s\": \"ab\\n</para"},
    {CALL "<function=f>\n<parameter=i>\n12", C "f" A "{\"i\": \"12"},
    {CALL "<function=f>\n<parameter=i>\n", C "f" A "{\"i\": "},
    {CALL "<function=f>\n" PAR("i", "1") "<param", C "f" A "{\"i\": 1"},
};
const size_t n_answer_cases = sizeof answer_cases / sizeof *answer_cases;
