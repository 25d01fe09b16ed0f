using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Request bodies as a frontend would never send them, and some as it does: what both workers are asked without one.</summary>
internal static class DirectCatalogue
{
    /// <summary>The answers are equal, whatever the role.</summary>
    public static IReadOnlyList<string> Equal { get; } =
    [
        Body(),
        .. Sampling(),
        .. Stops(),
        .. Guided(),
        .. Prompts(),
        Body("""{"output_options":{"logprobs":2}}"""),
        Body("""{"output_options":{"logprobs":1.0}}"""),
        Body("""{"output_options":{"logprobs":true}}"""),
        Body("""{"output_options":{"logprobs":"2"}}"""),
        Body("""{"output_options":{"logprobs":-1}}"""),
        Body("""{"output_options":{"logprobs":50}}"""),
        Body("""{"output_options":{"prompt_logprobs":1}}"""),
        Body("""{"routing":{"dp_rank":5}}"""),
        Body("""{"routing":{"priority":3}}"""),
        Body("""{"model":"nope"}"""),
        Body("""{"agent_context":{"session_id":" a "}}"""),
        Body("""{"reasoning_ended":true}"""),
        Body("""{"prompt_embeds":"AAAA"}"""),
        Body("""{"multi_modal_data":{"image_url":[]}}"""),
        Body("""{"_HEALTH_CHECK":true}"""),
        Body("""{"nvext":{"extra_fields":["engine_data"]}}"""),
        Body("""{"prefill_result":{}}"""),
        Body("""{"prefill_result":{"disaggregated_params":{"kv_transfer_params":null},"prompt_tokens_details":{"cached_tokens":3}}}"""),
        // Tokens that cannot be drawn: -1e30 stands for minus infinity.
        Body(
            """{"sampling_options":{"temperature":0.0,"allowed_token_ids":[45,375]},"output_options":{"logprobs":4},"nvext":{"extra_fields":["engine_data"]}}"""
        ),
    ];

    /// <summary>The answers are equal where a request is decoded.</summary>
    public static IReadOnlyList<string> EqualWhereDecoded { get; } =
    [
        Body("""{"sampling_options":{"temperature":0.0,"n":2}}"""),
        Body("""{"sampling_options":{"n":3,"seed":5,"temperature":1.0}}"""),
        Body("""{"prefill_result":{"disaggregated_params":{"kv_transfer_params":{}}}}"""),
        Body("""{"prefill_result":{"disaggregated_params":{"kv_transfer_params":{"do_remote_prefill":false}}}}"""),
        Body(
            """{"prefill_result":{"disaggregated_params":{"kv_transfer_params":{"do_remote_prefill":false}}},"annotations":["x-bypass-remote-prefill"]}"""
        ),
        Body("""{"encoder_result":{"a":1}}"""),
        Body("""{"encoder_result":{"a":1},"annotations":["x-bypass-remote-prefill"]}"""),
    ];

    /// <summary>Refused by both, here with a text that names the field: the reference shows what Python said.</summary>
    public static IReadOnlyList<(string Body, string Text)> RefusedByBoth { get; } =
    [
        (
            Body("""{"sampling_options":{"guided_decoding":{"regex":5}}}"""),
            "sampling_options.guided_decoding.regex is of type Integer, must be a string"
        ),
        (
            Body("""{"sampling_options":{"guided_decoding":{"choice":"a"}}}"""),
            "sampling_options.guided_decoding.choice is of type String, must be an array"
        ),
    ];

    /// <summary>The same for a worker that decodes.</summary>
    public static IReadOnlyList<(string Body, string Text)> RefusedByBothWhereDecoded { get; } =
    [Transfer("5", "of type Integer"), Transfer("\"abc\"", "of type String"), Transfer("[1]", "of type Array"), Transfer("true", "true")];

    /// <summary>A fault of the worker in the reference (500), the client's here (400 with the field).</summary>
    public static IReadOnlyList<(string Body, string Text)> FaultsThere { get; } =
    [
        ("""{"stop_conditions":{"max_tokens":3}}""", "token_ids is missing"),
        (
            Body("""{"sampling_options":{"logit_bias":{"5":1e999}}}"""),
            "sampling_options.logit_bias[5] is Infinity, must be a finite number"
        ),
        (Body("""{"sampling_options":{"logit_bias":{"x":1.5}}}"""), "sampling_options.logit_bias has a key that is not a token id"),
        (Body("""{"sampling_options":{"logit_bias":{"99999":1.0}}}"""), "out-of-vocab"),
    ];

    /// <summary>Refused here alone, since it would cost every other stream.</summary>
    public static IReadOnlyList<(string Body, string Text)> Limits { get; } =
    [
        (
            Body($$$"""{"stop_conditions":{"max_tokens":3,"stop_token_ids":[{{{Many(1_000_000)}}}]}}"""),
            "stop_conditions.stop_token_ids holds 1000000 token ids, above the limit 2048, the size of the vocabulary"
        ),
        (
            Body(
                """{"sampling_options":{"guided_decoding":{"json":TEXT}}}""".Replace(
                    "TEXT",
                    JsonSerializer.Serialize(Nested(200)),
                    StringComparison.Ordinal
                )
            ),
            "is nested deeper than the limit 128"
        ),
    ];

    private static IEnumerable<string> Sampling()
    {
        string[] options =
        [
            "\"top_p\":2.5",
            "\"top_p\":0.0",
            "\"temperature\":-1.5",
            "\"presence_penalty\":3.5",
            "\"frequency_penalty\":-2.5",
            "\"repetition_penalty\":-1.5",
            "\"min_p\":2.5",
            "\"top_k\":-5",
            "\"n\":0",
            "\"n\":1000000",
            "\"seed\":9223372036854775807",
            "\"logit_bias\":{\"5\":1.5}",
            "\"allowed_token_ids\":[]",
            "\"allowed_token_ids\":[99999]",
            "\"allowed_token_ids\":[-1]",
            "\"logprob_token_ids\":[]",
            "\"logprob_token_ids\":[5,6]",
            "\"logprob_token_ids\":[99999]",
            "\"bad_words_token_ids\":[]",
            "\"bad_words_token_ids\":[[99999]]",
            "\"bad_words_token_ids\":[[-1]]",
        ];
        foreach (var option in options)
        {
            // The number of choices is not a prefill worker's business here
            // (docs/compatibility.md, D1); logit_bias with text keys is a fault there.
            if (!option.StartsWith("\"n\"", StringComparison.Ordinal) && !option.StartsWith("\"logit_bias\"", StringComparison.Ordinal))
            {
                yield return Body(
                    $$$"""{"sampling_options":{"temperature":0.0,{{{option}}}}}""".Replace(
                        "\"temperature\":0.0,\"temperature\"",
                        "\"temperature\"",
                        StringComparison.Ordinal
                    )
                );
            }
        }

        yield return Body("""{"sampling_options":{"temperature":0.0,"logprob_token_ids":[]},"output_options":{"logprobs":2}}""");
        yield return Body("""{"sampling_options":{"temperature":0.0,"logprob_token_ids":[5,6]},"output_options":{"logprobs":1}}""");
        yield return Body("""{"sampling_options":{"temperature":0.8,"seed":3,"top_k":5}}""");
    }

    private static IEnumerable<string> Stops()
    {
        foreach (
            var stop in (string[])
                [
                    "\"max_tokens\":2,\"stop_token_ids\":[99999]",
                    "\"max_tokens\":4,\"stop_token_ids\":[344]",
                    "\"max_tokens\":2,\"max_thinking_tokens\":3",
                ]
        )
        {
            yield return Body($$$"""{"stop_conditions":{{{{stop}}}}}""");
        }
    }

    private static IEnumerable<string> Guided()
    {
        string[] constraints =
        [
            """{"json":{"$ref":"#"}}""",
            "{}",
            """{"regex":"["}""",
            """{"choice":[]}""",
            """{"choice":["a"]}""",
            """{"json":5}""",
            """{"json":"{"}""",
            """{"json":[]}""",
            """{"grammar":"x"}""",
            """{"json":{"type":"object"},"regex":"a"}""",
            """{"structural_tag":{"a":1}}""",
            """{"structural_tag":"x"}""",
            """{"whitespace_pattern":"x"}""",
            """{"backend":"x"}""",
            $$"""{"json":{{Nested(60)}}}""",
            $$"""{"json":{{Nested(110)}}}""",
        ];
        return constraints.Select(constraint => Body($$$"""{"sampling_options":{"temperature":0.0,"guided_decoding":{{{constraint}}}}}"""));
    }

    private static IEnumerable<string> Prompts()
    {
        string[] prompts = [Same(1023), Same(1024), Same(1025), Same(5000), "[]", "[1,99999]", "[1,-4]"];
        var unlimited = Body("""{"token_ids":PROMPT,"stop_conditions":{}}""".Replace("PROMPT", Same(1000), StringComparison.Ordinal)); // as many tokens as the context has room for
        return [unlimited, .. prompts.Select(prompt => Body($$"""{"token_ids":{{prompt}}}"""))];
    }

    private static (string, string) Transfer(string value, string shown) =>
        (
            Body(
                """{"prefill_result":{"disaggregated_params":{"kv_transfer_params":VALUE}}}""".Replace(
                    "VALUE",
                    value,
                    StringComparison.Ordinal
                )
            ),
            $"prefill_result.disaggregated_params.kv_transfer_params is {shown}, must be an object"
        );

    private static string Same(int count) => $"[{string.Join(',', Enumerable.Repeat("45", count))}]";

    private static string Many(int count) => string.Join(',', Enumerable.Range(0, count).Select(i => i % 2000));

    private static string Nested(int levels) =>
        string.Concat(Enumerable.Repeat("{\"type\":\"object\",\"properties\":{\"a\":", levels / 2))
        + "{\"type\":\"string\"}"
        + new string('}', levels / 2 * 2);

    /// <summary>A short greedy request with these members in the place of its own.</summary>
    private static string Body(string members = "{}")
    {
        var body = JsonNode
            .Parse("""{"token_ids":[1,45,375,319],"stop_conditions":{"max_tokens":3},"sampling_options":{"temperature":0.0}}""")!
            .AsObject();
        var text = body.ToJsonString();
        var own = members[1..^1];
        foreach (var name in (string[])["token_ids", "stop_conditions", "sampling_options"])
        {
            // By text, not by node: some values (1e999) are none that a node can hold.
            if (own.StartsWith($"\"{name}\"", StringComparison.Ordinal) || own.Contains($",\"{name}\":", StringComparison.Ordinal))
            {
                body.Remove(name);
            }
        }

        text = body.Count == 0 ? "{" : body.ToJsonString()[..^1];
        return own.Length == 0 ? text + "}" : $"{text}{(body.Count == 0 ? "" : ",")}{own}}}";
    }
}
