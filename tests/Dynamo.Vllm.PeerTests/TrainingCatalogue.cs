namespace Dynamo.Vllm.PeerTests;

/// <summary>Requests and control calls of a trainer; the calls in an order that leaves the engine with the weights it had.</summary>
internal static class TrainingCatalogue
{
    private const string Options = """
        "sampling_options":{"seed":11},"stop_conditions":{"max_tokens":24,"ignore_eos":true},"output_options":{"logprobs":2}
        """;

    /// <summary>Token-in requests in every form, and such as are none: the model's temperature and top_k hold for these.</summary>
    public static IReadOnlyList<string> Requests { get; } =
    [
        .. (
            (string[])
                [
                    "",
                    "\"nvext\":{\"token_in\":true},",
                    "\"nvext\":{\"token_in\":false},",
                    "\"nvext\":{\"token_in\":1},",
                    "\"nvext\":{\"token_in\":\"\"},",
                    "\"nvext\":{\"token_data\":[1,2]},",
                    "\"nvext\":{\"token_data\":[]},",
                    "\"nvext\":{\"token_data\":null,\"token_in\":{}},",
                    "\"extra_args\":{\"nvext\":{\"token_in\":true}},",
                    "\"extra_args\":{\"nvext\":{\"token_data\":[3],\"extra_fields\":[\"engine_data\"]}},",
                ]
        ).Select(form => $"{{\"token_ids\":[5,6,7,8,9,10],{form}{Options}}}"),
        // The model's limit holds for a token-in request that names none.
        """
            {"token_ids":[5,6,7],"nvext":{"token_in":true},"sampling_options":{"seed":1},"stop_conditions":{"ignore_eos":true}}
            """,
        "{\"token_ids\":[5,6,7],\"sampling_options\":{\"seed\":1},\"stop_conditions\":{\"ignore_eos\":true}}",
    ];

    /// <summary>To the endpoint that tells of the control calls.</summary>
    public static IReadOnlyList<string> Questions { get; } =
    [
        "{\"method\":\"routes\"}",
        "{\"method\":\"routes\",\"kwargs\":{\"a\":1}}",
        "{\"method\":\"routes\",\"kwargs\":null}",
        "{\"method\":\"routes\",\"kwargs\":[1]}",
        "{\"method\":\"pause_generation\"}",
        "{\"method\":\"\"}",
        "{\"method\":5}",
        "{}",
        "[1]",
        "null",
        "5",
    ];

    /// <param name="weights">Those that the workers have.</param>
    public static IReadOnlyList<(string Path, string Body)> Calls(string weights) =>
        [
            .. NoObjects(),
            .. Aborts(),
            .. Scales(),
            .. Running(),
            ("pause_generation", "{}"),
            .. Paused(),
            // After an update that fails the engine has no weights, and the first request after a resume would end it.
            ("update_weights_from_disk", $"{{\"model_path\":\"{weights}\"}}"),
            ("resume_generation", "{}"),
            ("load_lora", "{}"),
            ("unload_lora", "{}"),
            ("liveness_probe", "{}"),
        ];

    private static IEnumerable<(string, string)> NoObjects()
    {
        string[] calls =
        [
            "control/scale_elastic_ep",
            "control/ep_capacity",
            "abort_request",
            "update_weights_from_disk",
            "update_weights_from_distributed",
            "update_weights_from_tensor",
            "init_weights_update_group",
            "destroy_weights_update_group",
        ];
        return calls.SelectMany(call => (string[])["[1]", "5", "null", "\"x\"", "{}"], (call, body) => (call, body));
    }

    private static IEnumerable<(string, string)> Aborts() =>
        ((string[])["5", "0", "1.5", "true", "false", "null", "\"\"", "\"nope\"", "[]", "[\"a\"]", "{}", "{\"a\":1}"]).Select(id =>
            ("abort_request", $"{{\"request_id\":{id}}}")
        );

    private static IEnumerable<(string, string)> Scales()
    {
        string[] sizes =
        [
            "2",
            "0",
            "-3",
            "4.0",
            "1.5",
            "-0.5",
            "-0.0",
            "1e30",
            "99999999999999999999",
            "true",
            "false",
            "null",
            "[1]",
            "{\"a\":null}",
            "\"4\"",
            "\" 4 \"",
            "\"1_0\"",
            "\"1__0\"",
            "\"_1\"",
            "\"+2\"",
            "\"2.0\"",
            "\"x'y\"",
            "\"\"",
        ];
        return sizes.Select(size => ("control/scale_elastic_ep", $"{{\"new_data_parallel_size\":{size}}}"));
    }

    private static IEnumerable<(string, string)> Running()
    {
        const string unpaused = "\"allow_unpaused\":true,\"reset_prefix_cache\":false";
        yield return ("update_weights_from_disk", "{\"model_path\":\"/x\"}");
        foreach (var flags in (string[])["\"allow_unpaused\":1", "\"allow_unpaused\":true", "\"reset_prefix_cache\":null"])
        {
            yield return ("update_weights_from_distributed", $"{{{flags}}}");
        }

        foreach (var method in (string[])["\"nope\"", "\"\"", "null", "5", "\"check_health\"", "\"check_health\",\"weight_version\":3.0"])
        {
            yield return ("update_weights_from_distributed", $"{{{unpaused},\"engine_rpc\":{method}}}");
            yield return ("get_weight_version", "{}");
        }

        yield return ("update_weights_from_distributed", $"{{{unpaused},\"engine_rpc\":\"check_health\",\"names\":[\"a\"],\"world\":2}}");
        yield return (
            "init_weights_update_group",
            "{\"master_address\":\"127.0.0.1\",\"master_port\":1,\"rank_offset\":1,\"world_size\":2}"
        );
        yield return ("init_weights_update_group", "{\"engine_rpc\":\"check_health\"}");
        yield return ("init_weights_update_group", "{\"engine_rpc\":\"check_health\",\"x\":[1,2.0,{\"a\":null}]}");
        yield return ("destroy_weights_update_group", "{\"engine_rpc\":\"check_health\"}");
        yield return ("destroy_weights_update_group", "{\"engine_rpc\":[1]}");
    }

    private static IEnumerable<(string, string)> Paused()
    {
        foreach (var path in (string[])["null", "\"\"", "0", "\"/nope\"", "5", "[\"a\"]", "{\"a\":1}"])
        {
            yield return ("update_weights_from_disk", $"{{\"model_path\":{path}}}");
        }

        yield return ("update_weights_from_disk", "{\"model_path\":\"/x\",\"engine_rpc\":\"nope\",\"weight_version\":1}");
        yield return ("update_weights_from_disk", "{\"model_path\":\"/x\",\"engine_rpc\":null}");
        yield return ("get_weight_version", "{}");
        yield return ("update_weights_from_distributed", "{\"engine_rpc\":\"check_health\"}");
        yield return ("update_weights_from_distributed", "{\"engine_rpc\":\"check_health\",\"weight_version\":null}");
        yield return ("get_weight_version", "{}");
    }
}
