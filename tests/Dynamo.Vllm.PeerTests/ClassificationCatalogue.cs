using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Requests for classes and vectors, where the name of the model is added.</summary>
internal static class ClassificationCatalogue
{
    private static readonly string[] Inputs =
    [
        """{"input":"hello"}""",
        """{"input":["hello","a b c"]}""",
        """{"input":[1,5,6]}""",
        """{"input":[[1,5,6],[1]]}""",
        """{"input":"","user":"u"}""",
        """{"input":"hello","use_activation":false}""",
        """{"input":"hello world","truncate_prompt_tokens":2,"truncation_side":"left"}""",
        """{"input":"hello world","truncate_prompt_tokens":2,"truncation_side":"right"}""",
        """{"input":[1,2,3,4],"truncate_prompt_tokens":2}""",
        """{"input":"hello","add_special_tokens":false}""",
        """{"input":"hello","cache_salt":"s","request_id":"mine","priority":3}""",
        """{"input":[1,5],"cache_salt":"s"}""",
    ];

    /// <summary>Answered by both alike.</summary>
    public static IEnumerable<JsonObject> Classes => Inputs.Select(Parse).Append(Long("""{"truncate_prompt_tokens":-1}"""));

    /// <summary>Answered by both alike.</summary>
    public static IEnumerable<JsonObject> Vectors =>
        Inputs
            .Concat([
                """{"input":["hello","a"],"encoding_format":"base64"}""",
                """{"input":"hello","encoding_format":"base64","embed_dtype":"float16","endianness":"big"}""",
                """{"input":"hello","encoding_format":"base64","embed_dtype":"bfloat16"}""",
                """{"input":"hello","encoding_format":"base64","embed_dtype":"fp8_e5m2"}""",
                """{"input":"hello","task":"token_classify"}""",
                """{"input":"hello","task":"token_classify","encoding_format":"base64"}""",
                """{"input":"hello","task":"classify","use_activation":false}""",
            ])
            .Select(Parse);

    /// <summary>Answered by both with bytes instead of JSON.</summary>
    public static IEnumerable<JsonObject> Bytes =>
        (
            (string[])
                [
                    """{"input":["hello","a"],"encoding_format":"bytes","embed_dtype":"float16"}""",
                    """{"input":"hello","encoding_format":"bytes","task":"token_classify"}""",
                    """{"input":"hello","encoding_format":"bytes_only"}""",
                ]
        ).Select(Parse);

    /// <summary>Refused by both with 400, by the frontend or by the worker.</summary>
    public static IEnumerable<JsonObject> RefusedByBoth =>
        (
            (string[])
                [
                    "{}",
                    """{"input":5}""",
                    """{"input":[]}""",
                    """{"input":["a",1]}""",
                    """{"input":"hello","truncate_prompt_tokens":-2}""",
                    """{"input":"hello","truncation_side":"middle"}""",
                    """{"input":"hello","dimensions":3,"encoding_format":"hex"}""",
                ]
        ).Select(Parse);

    /// <summary>Mistakes of the client's that the official worker answers with 500, and what ours says of them.</summary>
    public static IEnumerable<(JsonObject Body, string Text)> FaultsThere =>
        [
            (Parse("""{"input":[[]]}"""), "The decoder prompt cannot be empty"),
            (Parse("""{"input":[99999]}"""), "Token id 99999 is out of vocabulary"),
            (Parse("""{"input":"hello","truncate_prompt_tokens":0}"""), "The decoder prompt cannot be empty"),
            (Long("{}"), "1024"),
        ];

    private static JsonObject Long(string rest)
    {
        var body = Parse(rest);
        body["input"] = string.Concat(Enumerable.Repeat("a ", 3000));
        return body;
    }

    private static JsonObject Parse(string json) => JsonNode.Parse(json)!.AsObject();
}
