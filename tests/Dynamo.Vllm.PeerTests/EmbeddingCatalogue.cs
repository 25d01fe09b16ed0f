using System.Net;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Embedding requests: through a frontend, where the name of the model is added, and straight at a worker.</summary>
internal static class EmbeddingCatalogue
{
    private const string Empty = "The decoder prompt cannot be empty";

    private static readonly string LongText = string.Concat(Enumerable.Repeat("a ", 3000));

    /// <summary>Answered by both with the same vectors.</summary>
    public static IEnumerable<JsonObject> Equal =>
        (
            (string[])
                [
                    """{"input":"hello"}""",
                    """{"input":["hello","a b c"]}""",
                    """{"input":[1,5,6]}""",
                    """{"input":[[1,5,6],[1]]}""",
                    """{"input":"hello","encoding_format":"base64"}""",
                    """{"input":["a","b","a"],"encoding_format":"base64"}""",
                    """{"input":"hello","encoding_format":"float","user":"u","priority":3,"nvext":{"annotations":["x"]}}""",
                    """{"input":""}""",
                    """{"input":["a",""]}""",
                    """{"input":"é\u0000漢字 \ud83d\ude00"}""",
                    """{"input":"hello","add_special_tokens":false}""",
                    """{"input":"hello world","truncate_prompt_tokens":2}""",
                    """{"input":"hello world","truncate_prompt_tokens":-1}""",
                    """{"input":[1,2,3,4],"truncate_prompt_tokens":2}""",
                ]
        )
            .Select(Parse)
            .Concat([
                With(LongText, """{"truncate_prompt_tokens":-1}"""),
                With(LongText, """{"truncate_prompt_tokens":10}"""),
                With(Tokens(1024), "{}"),
                With(new JsonArray([.. Enumerable.Range(0, 300).Select(i => JsonValue.Create($"text {i}"))]), "{}"),
            ]);

    /// <summary>Refused by both with 400, by the frontend or by the worker.</summary>
    public static IEnumerable<JsonObject> RefusedByBoth =>
        (
            (string[])
                [
                    "{}",
                    """{"input":null}""",
                    """{"input":5}""",
                    """{"input":{}}""",
                    """{"input":[]}""",
                    """{"input":[1.5]}""",
                    """{"input":[-1]}""",
                    """{"input":[4294967296]}""",
                    """{"input":["a",1]}""",
                    """{"input":[[1],"a"]}""",
                    """{"input":"hello","encoding_format":"hex"}""",
                    """{"input":"hello","add_special_tokens":"x"}""",
                    """{"input":"hello","truncate_prompt_tokens":-2}""",
                    """{"input":"hello","dimensions":0}""",
                    """{"input":"hello","dimensions":-1}""",
                    """{"input":"hello","dimensions":"x"}""",
                ]
        ).Select(Parse);

    /// <summary>Mistakes of the client's that the official worker answers with 500,
    /// at least where it tokenizes itself, and what ours says of them.</summary>
    public static IEnumerable<(JsonObject Body, string Text)> FaultsThere =>
        [
            (Parse("""{"input":[[]]}"""), Empty),
            (Parse("""{"input":[[1],[]]}"""), Empty),
            (Parse("""{"input":[99999]}"""), "Token id 99999 is out of vocabulary"),
            (Parse("""{"input":"hello world","truncate_prompt_tokens":0}"""), Empty),
            (Parse("""{"input":"hello","truncate_prompt_tokens":5000}"""), "truncate_prompt_tokens=5000 cannot be greater than"),
            (Parse("""{"input":"hello","dimensions":16}"""), "dimensions must be unset (received dimensions=16)"),
            (With(LongText, "{}"), "1024"),
            (With(Tokens(1025), "{}"), "holds 1025 token ids, above the limit 1024"),
        ];

    /// <summary>Straight at a worker: what frontends send, what the canary sends, and what a caller may leave out.</summary>
    public static readonly string[] Direct =
    [
        """{"input":"probe","model":"x","_HEALTH_CHECK":true}""",
        """{"input":"hello"}""",
        """{"model":"any","input":["hello",""],"dimensions":null,"encoding_format":null,"truncate_prompt_tokens":null}""",
        """{"input":[1,5]}""",
        """{"input":"a","token_ids":[[1,5],[1]],"model":"x","dimensions":null,"mdc_sum":"","annotations":[]}""",
        """{"token_ids":[1,5]}""",
        """{"token_ids":["hello"]}""",
    ];

    /// <summary>Straight at a worker: refused as mistakes of the caller's, and what ours says.</summary>
    public static readonly (string Body, string Text)[] DirectRefused =
    [
        ("{}", "input is missing, and so is token_ids"),
        ("""{"input":[]}""", "input holds no entry"),
        ("""{"token_ids":[]}""", "token_ids holds no entry"),
        ("""{"input":5}""", "input is of type Integer"),
        ("""{"input":[true]}""", "input[0] is true"),
        ("""{"input":[1,"a"]}""", "input[1] is of type String"),
        ("""{"input":[[1],[2,"a"]]}""", "input[1][1] is of type String"),
        ("""{"input":"a","dimensions":"x"}""", "dimensions is of type String"),
        ("""{"input":"a","encoding_format":"hex"}""", "encoding_format is 'hex'"),
        ("""{"input":"a","truncate_prompt_tokens":"x"}""", "truncate_prompt_tokens is of type String"),
        ("""{"input":"a","add_special_tokens":1}""", "add_special_tokens is of type Integer"),
    ];

    /// <summary>Takes an engine on the CPU several seconds: 300,000 tokens.</summary>
    public static JsonObject Long => With(new JsonArray([.. Enumerable.Range(0, 300).Select(_ => Tokens(1000))]), "{}");

    public const int LongCount = 300;

    /// <summary>Of the official worker for each of <see cref="FaultsThere"/>; the frontend refuses some before they reach it.</summary>
    public static bool IsFault(HttpStatusCode status, bool isTokenizedByFrontend) =>
        status == HttpStatusCode.InternalServerError || (isTokenizedByFrontend && status == HttpStatusCode.BadRequest);

    private static JsonArray Tokens(int count) => new([.. Enumerable.Range(0, count).Select(i => JsonValue.Create(3 + (i % 1000)))]);

    private static JsonObject With(JsonNode input, string rest)
    {
        var body = Parse(rest);
        body["input"] = input;
        return body;
    }

    private static JsonObject Parse(string json) => JsonNode.Parse(json)!.AsObject();
}
