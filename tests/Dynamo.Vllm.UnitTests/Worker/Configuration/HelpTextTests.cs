using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Help;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

public sealed class HelpTextTests
{
    private const string HostTitle = "Dynamo.Vllm Options:";
    private const string RouterTitle = "Router Advertisement Options.";

    private static readonly string[] Captured = CommandLineSample
        .Golden("help-full.txt")
        .Replace("__main__.py", "dynamo-vllm", StringComparison.Ordinal)
        .TrimEnd('\n')
        .Split('\n');

    [Fact]
    public void Help_equals_the_captured_help_line_by_line_apart_from_our_own_group()
    {
        var rendered = Render(() => string.Join('\n', EngineSection())).Split('\n').ToList();

        // Our own options stand at the end of the usage and in a group of their own; without both, the rest is the reference's.
        rendered.RemoveRange(rendered.IndexOf(HostTitle) - 1, rendered.Count - rendered.IndexOf(HostTitle) + 1);
        var usageEnd = rendered.IndexOf(string.Empty);
        var ownUsage = rendered.FindIndex(line => line.Contains("[--python", StringComparison.Ordinal));
        rendered.RemoveRange(ownUsage, usageEnd - ownUsage);

        for (var i = 0; i < Math.Min(Captured.Length, rendered.Count); i++)
        {
            Assert.True(Captured[i] == rendered[i], $"line {i + 1}\nexpected: {Captured[i]}\nactual:   {rendered[i]}");
        }

        Assert.Equal(Captured.Length, rendered.Count);
    }

    [Fact]
    public void Help_without_vllm_says_in_one_line_why_the_engine_options_are_missing()
    {
        var lines = Render(() => null).Split('\n').ToList();

        var title = lines.IndexOf(OptionGroups.EngineTitle + ":");
        Assert.Contains("--python", lines[title + 1], StringComparison.Ordinal);
        Assert.Equal(string.Empty, lines[title + 2]);
        Assert.StartsWith(RouterTitle, lines[title + 3], StringComparison.Ordinal);
    }

    [Fact]
    public void Own_options_are_listed_last_with_their_variables()
    {
        var help = Render(() => null);

        var group = help[help.IndexOf(HostTitle, StringComparison.Ordinal)..];
        Assert.Contains("  --engine-drive {stock,collector,raw,direct}\n", group, StringComparison.Ordinal);
        Assert.Contains("env var: DYN_VLLM_DRAIN_TIMEOUT_SECS | default: 30.0\n", group, StringComparison.Ordinal);
        Assert.EndsWith("env var: DYN_VLLM_ENGINE_STALL_TIMEOUT_SECS | default: 60.0\n", group, StringComparison.Ordinal);
    }

    [Fact]
    public void Usage_is_wrapped_at_the_width_in_COLUMNS()
    {
        var help = HelpText.Render(CommandLineSample.Environment("COLUMNS", "200"), () => null);

        var second = help.Split('\n')[1];
        Assert.InRange(second.Length, 81, 198);
        Assert.StartsWith("                   [--", second, StringComparison.Ordinal);
    }

    [Fact]
    public void Help_shows_the_built_in_default_even_when_the_environment_overrides_it()
    {
        var help = HelpText.Render(CommandLineSample.Environment("DYN_NAMESPACE", "from-the-environment"), () => null);

        Assert.Contains("env var: DYN_NAMESPACE | default: dynamo\n", help, StringComparison.Ordinal);
        Assert.DoesNotContain("from-the-environment", help, StringComparison.Ordinal);
    }

    [Fact]
    public void Version_is_the_captured_line() => Assert.Equal(ProgramIdentity.VersionLine + "\n", CommandLineSample.Golden("version.txt"));

    private static string Render(Func<string?> engineSection) => HelpText.Render(CommandLineSample.NoEnvironment, engineSection);

    private static IEnumerable<string> EngineSection() =>
        Captured
            .SkipWhile(line => line != OptionGroups.EngineTitle + ":")
            .TakeWhile(line => !line.StartsWith(RouterTitle, StringComparison.Ordinal));
}
