using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <remarks>Variables act as argparse defaults, with all that follows from it.</remarks>
public sealed class EnvironmentDefaultTests
{
    public static TheoryData<string> VariablesOfAllOptions() =>
        [.. OptionGroups.WorkerParser.Concat(OptionGroups.RouterParser).Select(option => option.Environment).OfType<string>().Distinct()];

    [Fact]
    public void A_flag_wins_over_the_variable_and_the_variable_over_the_default()
    {
        var environment = CommandLineSample.Environment("DYN_NAMESPACE", "y");

        Assert.Equal("x", CommandLineSample.Parse(environment, "--namespace", "x").Options.Get(RuntimeOptions.Namespace));
        Assert.Equal("y", CommandLineSample.Parse(environment).Options.Get(RuntimeOptions.Namespace));
        Assert.Equal("dynamo", CommandLineSample.Parse().Options.Get(RuntimeOptions.Namespace));
    }

    [Fact]
    public void Allowed_words_are_not_checked_for_variables() =>
        Assert.Equal(
            "bogus",
            CommandLineSample
                .Parse(CommandLineSample.Environment("DYN_DISCOVERY_BACKEND", "bogus"))
                .Options.Get(RuntimeOptions.DiscoveryBackend)
        );

    [Theory]
    [InlineData(" TRUE ", true)]
    [InlineData("1", true)]
    [InlineData("Yes", true)]
    [InlineData("on", true)]
    [InlineData("y", false)]
    [InlineData("2", false)]
    [InlineData("", false)]
    public void A_word_that_does_not_mean_true_means_false(string word, bool expected) =>
        Assert.Equal(
            expected,
            CommandLineSample
                .Parse(CommandLineSample.Environment("DYN_VLLM_ENABLE_MULTIMODAL", word))
                .Options.Get(VllmOptions.EnableMultimodal)
        );

    [Fact]
    public void One_variable_is_strict_about_its_words()
    {
        const string variable = "DYN_VLLM_EMBEDDING_FRONTEND_TOKENIZATION";

        Assert.False(
            CommandLineSample.Parse(CommandLineSample.Environment(variable, "")).Options.Get(VllmOptions.EmbeddingFrontendTokenization)
        );
        Assert.True(
            CommandLineSample.Parse(CommandLineSample.Environment(variable, "On")).Options.Get(VllmOptions.EmbeddingFrontendTokenization)
        );
        var error = Assert.Throws<ConfigurationException>(() => CommandLineSample.Parse(CommandLineSample.Environment(variable, "y")));
        Assert.Equal($"{variable}='y': expected one of: true/false, 1/0, on/off, yes/no", error.Message);
    }

    [Theory]
    [InlineData("DYN_VLLM_EMBEDDING_WORKER_PROCESSES", "abc", "invalid literal for int() with base 10: 'abc'")]
    [InlineData("DYN_ROUTER_TTL_SECS", "x", "could not convert string to float: 'x'")]
    [InlineData("DYN_STRUCTURAL_TAG", "nonsense", "JSON is malformed")]
    public void A_variable_that_cannot_be_converted_ends_even_the_help(string variable, string value, string expected)
    {
        var error = Assert.Throws<ConfigurationException>(() =>
            CommandLineParser.Parse(["--help"], CommandLineSample.Environment(variable, value))
        );

        Assert.StartsWith(variable, error.Message, StringComparison.Ordinal);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(" 1_000 ", 1000)]
    [InlineData("+7", 7)]
    [InlineData("-3", -3)]
    public void Integers_are_read_as_python_reads_them(string text, long expected) =>
        Assert.Equal(
            expected,
            CommandLineSample
                .Parse(CommandLineSample.Environment("DYN_ENGINE_REQUEST_LIMIT", text))
                .Options.Get(RuntimeOptions.EngineRequestLimit)
        );

    [Theory]
    [InlineData("")]
    [InlineData("None")]
    public void A_nullable_number_is_switched_off_by_a_word(string word)
    {
        var environment = CommandLineSample.Environment("DYN_ACTIVE_DECODE_BLOCKS_THRESHOLD", word);

        Assert.Null(CommandLineSample.Parse(environment, "--router-mode", "random").Options.Get(RouterOptions.ActiveDecodeBlocksThreshold));
    }

    [Fact]
    public void Words_are_split_at_blanks_only() =>
        Assert.Equal(
            ["text", "image,audio"],
            CommandLineSample
                .Parse(CommandLineSample.Environment("DYN_OUTPUT_MODALITIES", " text  image,audio "))
                .Options.Get(RuntimeOptions.OutputModalities)
        );

    [Fact]
    public void The_older_overlap_variable_is_read_only_while_the_newer_is_unset()
    {
        var both = new Dictionary<string, string> { ["DYN_ROUTER_KV_OVERLAP_SCORE_WEIGHT"] = "3", ["DYN_OVERLAP_SCORE_WEIGHT"] = "2" };

        Assert.Equal(3, CommandLineSample.Parse(both, "--router-mode", "kv").Options.Get(RouterOptions.OverlapScoreWeight));
        both.Remove("DYN_ROUTER_KV_OVERLAP_SCORE_WEIGHT");
        Assert.Equal(2, CommandLineSample.Parse(both, "--router-mode", "kv").Options.Get(RouterOptions.OverlapScoreWeight));
    }

    [Theory]
    [MemberData(nameof(VariablesOfAllOptions))]
    public void Setting_a_variable_to_an_empty_string_is_either_accepted_or_a_named_error(string variable)
    {
        var environment = CommandLineSample.Environment(variable, "");
        try
        {
            Assert.NotNull(CommandLineSample.Parse(environment));
        }
        catch (ConfigurationException exception)
        {
            Assert.StartsWith(variable, exception.Message, StringComparison.Ordinal);
        }
    }
}
