namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>The parser names that a 1.6.1 frontend knows and that a model card may therefore name.</summary>
/// <remarks>
/// The reference prints them in the order of a hash set, which changes from run to run. Ours is the order of the captured help, so that
/// the two can be compared.
/// </remarks>
public static class ParserNames
{
    public static IReadOnlyList<string> ToolCall { get; } =
    [
        "harmony",
        "qwen3_coder",
        "default",
        "pythonic",
        "gemma-4",
        "deepseekv4",
        "inkling",
        "qwen25",
        "mistral",
        "deepseek_v3",
        "phi4",
        "minimax-m3-nom",
        "kimi_k2",
        "kimi_k3",
        "hermes",
        "gemma4",
        "minimax_m2",
        "minimax_m3_nom",
        "glm47",
        "deepseek_v4",
        "jamba",
        "llama3_json",
        "deepseek_v3_1",
        "kimi-k3",
        "minimax-m3",
        "nemotron_deci",
        "deepseek-v4",
        "minimax_m3",
        "nemotron_nano",
        "deepseek_v3_2",
        "deepseek_v41",
        "glm45",
        "kimi_k25",
        "muse",
        "muse_glimmer",
        "qwen3",
    ];

    public static IReadOnlyList<string> Reasoning { get; } =
    [
        "kimi_k3",
        "deepseek-v4",
        "nemotron_nano",
        "kimi_k25",
        "deepseek_v3_2",
        "nemotron3",
        "inkling",
        "granite",
        "minimax_append_think",
        "glm45",
        "deepseek_v4",
        "deepseek_r1",
        "nemotron_deci",
        "deepseek_v3_1",
        "nemotron_v3",
        "kimi",
        "minimax-m3",
        "step3",
        "mistral",
        "gemma4",
        "minimax_m2",
        "deepseekv4",
        "deepseek_v3",
        "basic",
        "gemma-4",
        "qwen3",
        "minimax_m3",
        "kimi-k3",
        "gpt_oss",
        "deepseek_v41",
        "glm47",
        "kimi_k2",
        "muse",
        "muse_glimmer",
        "qwen3_coder",
    ];
}
