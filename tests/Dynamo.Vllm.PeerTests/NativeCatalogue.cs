namespace Dynamo.Vllm.PeerTests;

/// <summary>Requests in vLLM's own form: as clients send them to the frontend, and as it passes them on.</summary>
internal static class NativeCatalogue
{
    private const string Ids = "[1,289,81,319]";

    private static readonly string[] Parameters =
    [
        """{"max_tokens":6,"temperature":0}""",
        """{"temperature":0}""",
        """{"max_tokens":6,"n":2,"temperature":0.8,"seed":1}""",
        """{"temperature":0,"max_tokens":6,"logprobs":2}""",
        """{"temperature":0,"max_tokens":6,"prompt_logprobs":1}""",
        """{"temperature":0,"max_tokens":12,"stop":["ent","ield","a"]}""",
        """{"temperature":0,"max_tokens":12,"stop":"ield","include_stop_str_in_output":true,"min_tokens":2}""",
        """{"temperature":0,"max_tokens":6,"stop_token_ids":[262]}""",
        """{"max_tokens":6,"temperature":1,"seed":5,"top_p":0.9,"top_k":20,"min_p":0.05}""",
        """{"temperature":0,"max_tokens":6,"frequency_penalty":1.0,"presence_penalty":0.5,"repetition_penalty":1.2,"ignore_eos":true}""",
        """{"temperature":0,"max_tokens":6,"allowed_token_ids":[5,6],"unknown":1}""",
        """{"temperature":0,"max_tokens":6,"bad_words":["a"]}""",
        """{"temperature":0,"max_tokens":6,"structured_outputs":{"choice":["abc","def"]}}""",
        """{"temperature":0,"max_tokens":6,"detokenize":true,"skip_special_tokens":false,"output_kind":2,"stream_interval":3}""",
        """{"temperature":0,"max_tokens":6,"logprob_token_ids":[5,6],"skip_reading_prefix_cache":true,"extra_args":{"a":1}}""",
        """{"temperature":0,"max_tokens":6,"logit_bias":{"5":100}}""",
        """{"temperature":0,"max_tokens":6,"n":"x"}""",
        """{"temperature":0,"max_tokens":6,"n":0}""",
        """{"temperature":0,"max_tokens":6,"trace_decode_token_ids":[5]}""",
        """{"temperature":0,"max_tokens":6,"bad_words":[""]}""",
    ];

    /// <summary>Bodies of clients, less the model's name.</summary>
    public static IEnumerable<string> Http =>
        Parameters
            .Select(parameters => Body(parameters))
            .Concat([
                Body("""{"temperature":0,"max_tokens":4}""", ""","cache_salt":"s","priority":3,"kv_transfer_params":{"a":1}"""),
                Body("""{"temperature":0,"max_tokens":4}""", ""","cache_salt":"" """),
                Body("""{"temperature":0,"max_tokens":4}""", ""","content_parts":[{"type":"text"}]"""),
                Body("""{"temperature":0,"max_tokens":4}""", ""","features":{"mm_hashes":{},"mm_placeholders":{}}"""),
                Body("""{"max_tokens":4,"structured_outputs":{"json":{"$ref":"#"}}}"""),
                Body("""{"temperature":0}""", ids: "[99999]"),
                Body("""{"temperature":0}""", ids: Many(1020)),
                Body("""{"temperature":0}""", ids: Many(1024)),
                Body("""{"temperature":0}""", ids: Many(1025)),
            ]);

    /// <summary>As a frontend passes them on.</summary>
    public static IEnumerable<string> Direct =>
        Parameters
            .Select(parameters => Envelope("""{"sampling_params":""" + parameters + "}"))
            .Append(
                Envelope(
                    """
                    {"sampling_params":{"temperature":0,"max_tokens":5,"logprobs":1},"cache_salt":"s","priority":1,"request_id":"r","stream":false}
                    """,
                    """
                    "sampling_options":{"temperature":2.0},"stop_conditions":{"max_tokens":1},"routing":{"priority":2},
                    "nvext":{"extra_fields":["engine_data"]},
                    """
                )
            );

    /// <summary>Refused by both as mistakes of the caller's, and what ours says.</summary>
    public static IEnumerable<(string Body, string Text)> Refused =>
        [
            (Envelope("5"), "extra_args.vllm_tito is of type Integer, must be an object"),
            (Envelope("{}"), "extra_args.vllm_tito.sampling_params must be an object"),
            (
                Envelope("""{"sampling_params":{"routed_experts_prompt_start":9}}"""),
                "routed_experts_prompt_start must be smaller than the prompt token count"
            ),
            (
                Envelope("""{"sampling_params":{"routed_experts_prompt_start":-1}}"""),
                "routed_experts_prompt_start must be a non-negative integer"
            ),
            (
                Envelope("""{"sampling_params":{"n":1000,"temperature":1}}"""),
                "sampling_params.n must be at most the server's max_num_seqs (2), got 1000."
            ),
            (Envelope("""{"sampling_params":{},"content_parts":[5]}"""), "content_parts are not supported"),
            (Envelope("""{"sampling_params":{},"features":{}}"""), "features are not served"),
        ];

    private static string Body(string parameters, string rest = "", string ids = Ids) =>
        $$"""{"token_ids":{{ids}},"sampling_params":{{parameters}}{{rest}} }""";

    private static string Envelope(string envelope, string rest = "") =>
        $$"""{"token_ids":{{Ids}},{{rest}}"extra_args":{"vllm_tito":{{envelope}} } }""";

    private static string Many(int count) => $"[{string.Join(',', Enumerable.Repeat('3', count))}]";
}
