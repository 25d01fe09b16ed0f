using System.Globalization;
using System.Text;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <summary>docs/configuration.md says what the option tables say, and names every variable that is read beside them.</summary>
public sealed class ConfigurationPageTests
{
    private readonly WrittenPage _page = new("configuration.md", "<!-- options: written by ConfigurationPageTests, WRITE_DOCS=1 -->\n");

    [Fact]
    public void The_page_lists_every_option_with_its_default_and_limits()
    {
        var options = Options();
        Assert.Equal(options, _page.Update(options));
    }

    [Fact]
    public void The_page_names_every_variable_that_the_runtime_reads()
    {
        var environment = new RecordingEnvironment();
        RuntimeEnvironment.Parse(environment, CommandLineSample.Parse().Options);

        Assert.True(environment.Read.Count > 50, $"{environment.Read.Count} variables");
        Assert.Empty(environment.Read.Where(variable => !_page.Text.Contains($"`{variable}`", StringComparison.Ordinal)).Order());
    }

    private static string Options()
    {
        var text = new StringBuilder();
        foreach (var group in new[] { OptionGroups.Host, OptionGroups.Runtime, OptionGroups.Vllm, OptionGroups.Router })
        {
            text.Append(CultureInfo.InvariantCulture, $"\n### {group.Title.Split('.')[0]}\n\n");
            text.Append("| Flag | Variable | Default | |\n|---|---|---|---|\n");
            foreach (var option in group.Options.Where(option => option.Kind is not (OptionKind.Help or OptionKind.Version)))
            {
                text.Append(
                    CultureInfo.InvariantCulture,
                    $"| {Flags(option)} | {Code(option.Environment)} | {Default(option)} | {Words(option)} |\n"
                );
            }
        }

        return text.ToString();
    }

    private static string Flags(OptionDefinition option) => string.Join(", ", option.Flags.Select(Code));

    private static string Code(string? text) => string.IsNullOrEmpty(text) ? "" : $"`{text}`";

    private static string Default(OptionDefinition option) =>
        option.Default switch
        {
            null => "",
            bool flag => flag ? "on" : "off",
            IReadOnlyList<string> words => Code(string.Join(' ', words)),
            var value => Code(Convert.ToString(value, CultureInfo.InvariantCulture)),
        };

    private static string Words(OptionDefinition option)
    {
        var parts = new List<string> { (option.Help ?? "").ReplaceLineEndings(" ").Replace("|", "\\|", StringComparison.Ordinal).Trim() };
        if (option.Choices is { } choices)
        {
            parts.Add($"One of {string.Join(", ", choices.Select(Code))}.");
        }

        if (option is { Minimum: { } minimum, Maximum: { } maximum })
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"From {minimum} to {maximum}."));
        }

        if (option.OlderEnvironment is { } older)
        {
            parts.Add($"`{older}` is read where the variable is not set.");
        }

        if (option.Replacement is { } replacement)
        {
            parts.Add($"Deprecated: use {replacement}.");
        }

        return string.Join(' ', parts.Where(part => part.Length > 0));
    }
}
