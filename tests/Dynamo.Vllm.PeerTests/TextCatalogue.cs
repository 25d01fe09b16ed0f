using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Requests to workers that tokenize themselves: through a frontend,
/// where the name of the model is added, and straight at a worker.</summary>
internal static class TextCatalogue
{
    private const string Hello = """[{"role":"user","content":"hi"}]""";

    /// <summary>Tells of a worker that it serves.</summary>
    public static JsonObject Probe => Chat("""{"max_tokens":1}""");

    /// <summary>Runs until somebody ends it.</summary>
    public static JsonObject Long => Chat("""{"max_tokens":900,"ignore_eos":true,"stream":true}""");

    /// <summary>Answered by both alike, as a stream and in one piece: texts, mistakes, and what both pass over.</summary>
    public static IEnumerable<JsonObject> Chats => (
            (string[])
                [
                    """{"max_tokens":8}""",
                    "{}",
                    """{"max_completion_tokens":5}""",
                    """{"max_tokens":40,"repetition_penalty":1.5}""",
                    """{"max_tokens":20,"frequency_penalty":1.5,"presence_penalty":0.5}""",
                    """{"max_tokens":8,"temperature":1,"seed":3,"top_p":0.9,"top_k":40,"min_p":0.01}""",
                    """{"max_tokens":8,"temperature":0.5,"seed":1,"n":2}""",
                    """{"max_tokens":8,"stop":["ent"]}""",
                    """{"max_tokens":8,"stop":"andle","include_stop_str_in_output":true}""",
                    """{"max_tokens":20,"stop":["zzzz","Lexer"]}""",
                    """{"max_tokens":8,"min_tokens":4,"stop":["ata"]}""",
                    """{"max_tokens":8,"ignore_eos":true,"logprobs":true,"top_logprobs":2,"logit_bias":{"5":100}}""",
                    """{"max_tokens":8,"response_format":{"type":"json_object"},"user":"u","nvext":{"cache_salt":"s"}}""",
                    """{"max_tokens":8,"chat_template_kwargs":{"a":1,"tokenize":true}}""",
                    """{"max_tokens":8,"chat_template_args":{"add_generation_prompt":false}}""",
                    """{"max_tokens":8,"chat_template_kwargs":{"messages":[]}}""",
                    """{"max_tokens":8,"chat_template_kwargs":{"continue_final_message":true}}""",
                    """{"max_tokens":8,"min_tokens":10}""",
                    """{"max_tokens":8,"thinking_token_budget":5}""",
                    """{"max_tokens":8,"nvext":{"max_thinking_tokens":5}}""",
                    """{"max_tokens":5000,"ignore_eos":true}""",
                    """{"max_tokens":30,"messages":[{"role":"user","content":"é漢字😀"}]}""",
                    """
                        {"max_tokens":8,"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
                         {"role":"assistant","content":"b","reasoning_content":"because"},{"role":"user","content":"c"}]}
                        """,
                    """{"max_tokens":8,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}""",
                ]
        ).Select(Chat).Append(LongMessage(3000)).Append(LongMessage(100_000));

    /// <summary>What the tokenizer makes those token ids of.</summary>
    public const string TextOfTokens = "hello world";

    /// <summary>What the official worker answers to these its frontend cannot
    /// read, since it has the form of a chat; token ids are refused there.</summary>
    public static IEnumerable<JsonObject> Completions =>
        (
            (string[])
                [
                    """{"prompt":"hello world","max_tokens":8,"temperature":0}""",
                    """{"prompt":["hello world","a"],"max_tokens":8,"temperature":0}""",
                    """{"prompt":[1,289,81,319,324,272,838],"max_tokens":8,"temperature":0}""",
                    """{"prompt":"hello world","max_tokens":12,"temperature":0,"stop":["ent"]}""",
                ]
        ).Select(text => JsonNode.Parse(text)!.AsObject());

    /// <summary>Straight at a worker, answered alike.</summary>
    public static readonly string[] Direct =
    [
        $$"""{"messages":{{Hello}},"max_tokens":6,"temperature":0,"id":"abc"}""",
        $$"""{"messages":{{Hello}},"max_tokens":6,"temperature":0,"request_id":"def","model":"any"}""",
        $$"""{"messages":{{Hello}},"prompt":"not this","text":"nor this","max_tokens":3,"temperature":0,"stop":null,"n":null}""",
        """{"text":"hello world","max_tokens":6,"temperature":0}""",
        $$"""
            {"messages":{{Hello}},"max_tokens":6,"temperature":0,"routing":{"dp_rank":0,"priority":3},"agent_context":{"session_id":"s"},
             "annotations":["x-bypass-remote-prefill"],"nvext":{"cache_salt":"s"},"guided_regex":"a+","skip_special_tokens":false}
            """,
        $$"""{"messages":{{Hello}},"max_tokens":6,"temperature":0,"routing":{"dp_rank":7} }""",
        """{"messages":[],"max_tokens":6,"temperature":0}""",
        """{"messages":[{"role":"assistant","content":null,"reasoning_content":["a","","b"]}],"max_tokens":6,"temperature":0}""",
        $$"""{"messages":{{Hello}},"encoder_result":{} }""",
    ];

    /// <summary>Straight at a worker: refused by both as mistakes of the caller's, and what ours says.</summary>
    public static readonly (string Body, string Text)[] DirectRefused =
    [
        ("""{"max_tokens":2}""", "No input parameter found in request"),
        ("""{"messages":5}""", "messages is of type Integer"),
        ("""{"prompt":5}""", "prompt is of type Integer"),
        ($$"""{"messages":{{Hello}},"temperature":"x"}""", "temperature is of type String"),
        ($$"""{"messages":{{Hello}},"stop":[5]}""", "stop[0] is of type Integer"),
        ($$"""{"messages":{{Hello}},"temperature":-1}""", "temperature must be non-negative"),
        ($$"""{"messages":{{Hello}},"stop":[""]}""", "stop cannot contain an empty string"),
    ];

    public static JsonObject LongMessage(int words)
    {
        var body = Chat("""{"max_tokens":8}""");
        body["messages"]![0]!["content"] = string.Concat(Enumerable.Repeat("x ", words));
        return body;
    }

    private static JsonObject Chat(string rest)
    {
        var body = JsonNode.Parse(rest)!.AsObject();
        body["messages"] ??= JsonNode.Parse(Hello);
        body["temperature"] ??= 0;
        return body;
    }
}
