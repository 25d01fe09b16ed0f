using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <summary>Stands in for vLLM's parser: knows the few engine options that the captured cases use, and their defaults.</summary>
/// <remarks>Strict like the original: a word it does not know is an error, so that a test cannot pass by ignoring one.</remarks>
internal static class EngineArgumentParserFake
{
    private static readonly string[] Switches =
    [
        "--enable-lora",
        "--skip-tokenizer-init",
        "--enable-log-requests",
        "--disable-log-stats",
        "--enforce-eager",
        "--enable-prefix-caching",
    ];

    private static readonly string[] Objects = ["--kv-events-config", "--kv-transfer-config"];

    private static readonly string[] Numbers = ["--block-size", "--stream-interval", "--data-parallel-size", "--max-num-seqs"];

    private static readonly string[] Words =
    [
        "--model",
        "--load-format",
        "--logprobs-mode",
        "--scheduler-cls",
        "--worker-cls",
        "--worker-extension-cls",
        "--config",
        "--max-model-len",
        "-tp",
    ];

    public static EngineArgumentValues Parse(params string[] arguments) => Parse((IReadOnlyList<string>)arguments);

    public static EngineArgumentValues Parse(IReadOnlyList<string> arguments)
    {
        var values = new JsonObject
        {
            ["model"] = "MODEL",
            ["served_model_name"] = null,
            ["kv_events_config"] = null,
            ["kv_transfer_config"] = null,
            ["enable_prefix_caching"] = null,
            ["scheduler_cls"] = null,
            ["stream_interval"] = 1,
        };
        for (var i = 0; i < arguments.Count; i++)
        {
            var parts = arguments[i].Split('=', 2);
            var flag = parts[0].Replace('_', '-');
            string Value() => parts.Length > 1 ? parts[1] : arguments[++i];
            var negative = flag.StartsWith("--no-", StringComparison.Ordinal) ? "--" + flag[5..] : null;
            if (Switches.Contains(negative ?? flag))
            {
                values[Destination(negative ?? flag)] = negative is null;
            }
            else if (flag == "--served-model-name")
            {
                var names = arguments.Skip(i + 1).TakeWhile(word => !word.StartsWith('-')).ToList();
                values["served_model_name"] = new JsonArray([.. names.Select(name => (JsonNode)name)]);
                i += names.Count;
            }
            else if (Objects.Contains(flag))
            {
                values[Destination(flag)] = JsonNode.Parse(Value());
            }
            else if (Objects.FirstOrDefault(option => flag.StartsWith(option + ".", StringComparison.Ordinal)) is { } dotted)
            {
                var target = values[Destination(dotted)] as JsonObject ?? [];
                var text = Value();
                target[arguments[i - 1][(dotted.Length + 1)..]] = text == "true" ? true : text;
                values[Destination(dotted)] = target;
            }
            else if (Numbers.Contains(flag))
            {
                values[Destination(flag)] = long.Parse(Value(), CultureInfo.InvariantCulture);
            }
            else
            {
                values[Destination(flag)] = Words.Contains(flag)
                    ? Value()
                    : throw new ArgumentException($"unrecognized arguments: {arguments[i]}");
            }
        }

        return new EngineArgumentValues(values);
    }

    private static string Destination(string flag) => flag.TrimStart('-').Replace('-', '_');
}
