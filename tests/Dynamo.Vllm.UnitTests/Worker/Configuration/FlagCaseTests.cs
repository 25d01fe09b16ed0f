using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <remarks>
/// All 88 captured cases. Left to the peer tests, because only vLLM can decide them: the errors of vLLM's own parser (here we check that
/// the words reach it untouched), and the resulting values of max_len, nseqs, tp and eager, which no code of ours reads.
/// </remarks>
public sealed class FlagCaseTests
{
    private static readonly IReadOnlyList<FlagCase> Cases = [.. FlagCase.ReadAll(CommandLineSample.Golden("flag-cases.txt"))];

    public static TheoryData<FlagCase> Accepted() =>
        [.. Cases.Where(flagCase => flagCase.Outcome.StartsWith("OK ", StringComparison.Ordinal))];

    public static TheoryData<FlagCase> RefusedByVllm() => [.. Cases.Where(flagCase => flagCase.EndsInVllm)];

    public static TheoryData<FlagCase> MalformedForUs() =>
        [.. Cases.Where(flagCase => flagCase.Outcome.StartsWith("EXIT 2", StringComparison.Ordinal) && !flagCase.EndsInVllm)];

    public static TheoryData<FlagCase> RefusedByRules() =>
        [
            .. Cases.Where(flagCase =>
                flagCase.Outcome.Contains("Error", StringComparison.Ordinal)
                && !flagCase.Outcome.StartsWith("OK ", StringComparison.Ordinal)
                && !flagCase.Outcome.StartsWith("EXIT", StringComparison.Ordinal)
            ),
        ];

    [Fact]
    public void Every_captured_case_is_in_exactly_one_of_the_theories()
    {
        Assert.Equal(88, Cases.Count);
        Assert.Equal(Cases.Count, Accepted().Count + RefusedByVllm().Count + MalformedForUs().Count + RefusedByRules().Count);
    }

    [Theory]
    [MemberData(nameof(Accepted))]
    public void An_accepted_case_resolves_to_the_captured_configuration(FlagCase flagCase)
    {
        var resolved = Resolve(flagCase);
        var actual = new Dictionary<string, string?>
        {
            ["ns"] = resolved.Namespace,
            ["comp"] = resolved.Component,
            ["ep"] = resolved.Endpoint,
            ["mode"] = "DisaggregationMode." + resolved.Mode.ToString().ToUpperInvariant(),
            ["served"] = resolved.ServedModelNameGiven ? resolved.ServedModelName : "None",
            ["aliases"] = $"[{string.Join(", ", resolved.ServedModelAliases.Select(alias => $"'{alias}'"))}]",
            ["disc"] = resolved.Options.Get(RuntimeOptions.DiscoveryBackend),
            ["rp"] = resolved.Options.Get(RuntimeOptions.RequestPlane),
            ["kv_events"] = Python(resolved.UseKvEvents),
            ["prefix"] = Python(resolved.EnablePrefixCaching),
            ["sched"] = (string?)resolved.EngineOverrides.GetValueOrDefault("scheduler_cls") ?? resolved.Engine.SchedulerClass ?? "None",
            ["stream"] = resolved.StreamInterval.ToString(),
            ["skiptok"] = Python((bool)resolved.EngineOverrides["skip_tokenizer_init"]!),
            ["logreq"] = Python((bool)resolved.EngineOverrides["enable_log_requests"]!),
            ["dls"] = Python((bool)resolved.EngineOverrides["disable_log_stats"]!),
            ["headless"] = Python(resolved.Options.Get(VllmOptions.Headless)),
            ["router"] = resolved.Options.Get(RouterOptions.RouterMode) ?? "None",
            ["mm"] = Python(resolved.Options.Get(VllmOptions.EnableMultimodal)),
            ["st"] = StructuralTag(resolved),
            ["types"] = resolved.Options.Get(RuntimeOptions.EndpointTypes),
            ["env+"] = Added(resolved, flagCase),
        };
        if (resolved.Options.Get(RouterOptions.RouterMode) is not null)
        {
            actual["temp"] = resolved.Options.Get(RouterOptions.RouterTemperature).ToString("0.0");
            actual["router_kv_events"] = Python(resolved.Options.Get(RouterOptions.UseKvEvents));
        }

        var shown = actual.Where(pair => flagCase.Shown(pair.Key) is not null).ToList();
        Assert.InRange(shown.Count, 7, actual.Count);
        foreach (var (name, value) in shown)
        {
            Assert.True(flagCase.Shown(name) == value, $"{name}: expected {flagCase.Shown(name)}, got {value}");
        }
    }

    [Theory]
    [MemberData(nameof(RefusedByVllm))]
    public void The_words_of_a_case_that_vllm_refuses_reach_vllm_untouched(FlagCase flagCase) =>
        Assert.Equal(flagCase.Arguments, CommandLineSample.Parse(flagCase.Environment, [.. flagCase.Arguments]).EngineArguments);

    [Theory]
    [MemberData(nameof(MalformedForUs))]
    public void A_malformed_case_is_a_usage_error_with_the_captured_sentence(FlagCase flagCase)
    {
        var error = Assert.Throws<UsageException>(() => CommandLineParser.Parse(flagCase.Arguments, flagCase.Environment));

        // The reference lists parser names in the order of a hash set, which changes from run to run.
        var unordered = flagCase.Message().IndexOf("(choose from 'minimax", StringComparison.Ordinal);
        Assert.Equal(
            unordered < 0 ? flagCase.Message() : flagCase.Message()[..unordered],
            unordered < 0 ? error.Message : error.Message[..unordered]
        );
    }

    [Theory]
    [MemberData(nameof(RefusedByRules))]
    public void A_case_that_breaks_a_rule_is_a_configuration_error_with_the_captured_sentence(FlagCase flagCase)
    {
        var error = Assert.Throws<ConfigurationException>(() => Resolve(flagCase));

        // Ours may name the variable in front, and .NET finds its own words for malformed JSON.
        var message = flagCase.Message();
        var detail = message.IndexOf("JSON is malformed:", StringComparison.Ordinal);
        Assert.Contains(detail < 0 ? message : "JSON is malformed:", error.Message, StringComparison.Ordinal);
    }

    private static WorkerConfiguration Resolve(FlagCase flagCase)
    {
        var parsed = CommandLineParser.Parse(flagCase.Arguments, flagCase.Environment);
        return ResolverSample.Resolve(flagCase.Environment, parsed.Arguments!);
    }

    private static string Python(bool value) => value ? "True" : "False";

    private static string StructuralTag(WorkerConfiguration resolved)
    {
        if (resolved.StructuralTag is not { } tag || tag == new StructuralTag())
        {
            return resolved.StructuralTag is null ? "None" : "default";
        }

        var card = tag.ToCard();
        return $"{{'scope': '{card["scope"]}', 'schema': '{card["schema"]}', "
            + $"'allow_tool_calls_with_structured_output': {Python(tag.AllowToolCallsWithStructuredOutput)}, "
            + $"'exclude_special_tokens': {(tag.ExcludeSpecialTokens is { } exclude ? Python(exclude) : "None")}, "
            + $"'reasoning_boundary': '{tag.ReasoningBoundary}', 'tool_arguments_any_order': {Python(tag.ToolArgumentsAnyOrder)}}}";
    }

    // The capture shows only variables that were not there before.
    private static string Added(WorkerConfiguration resolved, FlagCase flagCase) =>
        "{"
        + string.Join(
            ", ",
            resolved
                .EnvironmentChanges.Concat(RuntimeOptionsExport.Changes(resolved.Arguments.Options, flagCase.Environment))
                .Where(change => change.Value is not null && !flagCase.Environment.ContainsKey(change.Key))
                // Different on purpose: the reference forgets this flag, here it takes effect.
                .Where(change => change.Key != "DYN_ENGINE_REQUEST_LIMIT")
                .OrderBy(change => change.Key, StringComparer.Ordinal)
                .Select(change => $"'{change.Key}': '{change.Value}'")
        )
        + "}";
}
