using System.Globalization;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>The file behind <c>--router-policy-config</c>: its <c>router</c> part wins over flags, all else is for routers alone.</summary>
/// <remarks>Sentences are the reference's (tests/golden/worker/router-policies.jsonl). Read event by event, whatever the depth.</remarks>
internal static partial class RouterPolicyFile
{
    private const string Flag = "--router-policy-config";
    private const string ServeIndexer = "serve_indexer";
    private const int BytesMax = 1024 * 1024;

    private static readonly string[] Parts =
    [
        "router",
        "default_policy_family",
        "policy_classes",
        "uncached_isl_buckets",
        "models",
        "worker_selection",
        "request_classifier",
    ];

    /// <summary>What the part may hold, by the names that the card has for them.</summary>
    private static readonly Dictionary<string, OptionDefinition> Settings = new OptionDefinition[]
    {
        RouterOptions.HostCacheHitWeight,
        RouterOptions.DiskCacheHitWeight,
        RouterOptions.UseKvEvents,
        RouterOptions.RouterReplicaSync,
        RouterOptions.RouterTrackActiveBlocks,
        RouterOptions.RouterTrackOutputBlocks,
        RouterOptions.RouterAssumeKvReuse,
        RouterOptions.RouterTrackPrefillTokens,
        RouterOptions.RouterTrackingHash,
        RouterOptions.RouterTrackingKeyFile,
        RouterOptions.RouterTrackingKeyId,
        RouterOptions.RouterPrefillLoadModel,
        RouterOptions.RouterTtlSeconds,
        RouterOptions.RouterApproximateCachePolicy,
        RouterOptions.RouterEventThreads,
        RouterOptions.UseRemoteIndexer,
        RouterOptions.EnableSessionPrefixIndex,
        RouterOptions.SharedCacheType,
        RouterOptions.RouterPredictedTtlSeconds,
    }.ToDictionary(option => option.Destination);

    /// <returns>The settings with the file's, and whether the router is to serve its index, which no flag can say.</returns>
    /// <exception cref="ConfigurationException">The file cannot be used.</exception>
    public static (OptionValues Settings, bool ServesIndexer) Apply(OptionValues settings, string path)
    {
        var servesIndexer = false;
        foreach (var (name, value) in Read(path))
        {
            if (name == ServeIndexer)
            {
                servesIndexer = value as bool? ?? throw Unfit("bool", value);
                continue;
            }

            settings = settings.WithRaw(Settings[name], Convert(Settings[name], value));
        }

        return servesIndexer && settings.Get(RouterOptions.UseRemoteIndexer)
            ? throw new ConfigurationException("use_remote_indexer and serve_indexer are mutually exclusive")
            : (settings, servesIndexer);
    }

    private static object? Convert(OptionDefinition option, object? value)
    {
        var isNullable = option.Default is null;
        return (option.Kind, value) switch
        {
            (OptionKind.Boolean, bool) or (OptionKind.Integer, long) => value,
            (OptionKind.Float or OptionKind.NullableFloat, double number) => double.IsFinite(number)
                ? number
                : throw new ConfigurationException(
                    $"invalid router policy config: router.{option.Destination}: invalid type: null, expected f64"
                ),
            (OptionKind.Float or OptionKind.NullableFloat, long number) => (double)number,
            (OptionKind.Text, string) => value,
            (OptionKind.PrefillLoadModel, string word) => word == "aic" ? "ais" : word,
            (_, null) when isNullable => null,
            (OptionKind.Boolean, YamlWord word) => throw new ConfigurationException(
                $"invalid router policy config: router.{option.Destination}: invalid type: string \"{word.Text}\", expected a boolean"
            ),
            _ => throw Unfit(TypeOf(option.Kind) + (isNullable ? " | null" : ""), value),
        };
    }

    private static string TypeOf(OptionKind kind) =>
        kind switch
        {
            OptionKind.Boolean => "bool",
            OptionKind.Integer => "int",
            OptionKind.Float or OptionKind.NullableFloat => "float",
            _ => "str",
        };

    private static ConfigurationException Unfit(string expected, object? value)
    {
        var got = value switch
        {
            null => "null",
            bool or YamlWord => "bool",
            long => "int",
            double => "float",
            string => "str",
            _ => "object",
        };
        return new ConfigurationException($"invalid router settings: Expected `{expected}`, got `{got}`");
    }

    private static Dictionary<string, object?> Read(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            if (file.Length > BytesMax)
            {
                throw new ConfigurationException($"{Flag}: '{path}' has {file.Length} bytes, the limit is {BytesMax}");
            }

            using var text = new StreamReader(file);
            return ReadRoot(new Parser(text), path);
        }
        catch (YamlException exception)
        {
            throw new ConfigurationException($"{Flag}: '{path}' is not YAML: {exception.Message}");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"{Flag}: cannot read '{path}': {exception.Message}");
        }
    }

    private static Dictionary<string, object?> ReadRoot(Parser yaml, string path)
    {
        yaml.Consume<StreamStart>();
        if (!yaml.TryConsume<DocumentStart>(out _) || !yaml.TryConsume<MappingStart>(out _))
        {
            throw new ConfigurationException($"{Flag} must contain a YAML mapping");
        }

        var settings = new Dictionary<string, object?>();
        var isEmpty = true;
        while (!yaml.TryConsume<MappingEnd>(out _))
        {
            var part = yaml.Consume<Scalar>().Value;
            if (!Parts.Contains(part))
            {
                var expected = string.Join(", ", Parts.Select(name => $"`{name}`"));
                throw new ConfigurationException(
                    $"failed to parse router policy config {path}: unknown field `{part}`, expected one of {expected}"
                );
            }

            var isNull = yaml.Accept<Scalar>(out var scalar) && Resolve(scalar) is null;
            isEmpty &= isNull;
            if (part == Parts[0] && !isNull)
            {
                settings = ReadRouter(yaml);
            }
            else
            {
                yaml.SkipThisAndNestedEvents();
            }
        }

        return isEmpty
            ? throw new ConfigurationException(
                "invalid router policy config: router policy config must define router settings, a root profile, at least one model "
                    + "profile, worker_selection, or request_classifier"
            )
            : settings;
    }

    private static Dictionary<string, object?> ReadRouter(Parser yaml)
    {
        if (!yaml.TryConsume<MappingStart>(out _))
        {
            throw new ConfigurationException("router must contain a YAML mapping");
        }

        var settings = new Dictionary<string, object?>();
        while (!yaml.TryConsume<MappingEnd>(out _))
        {
            var name = yaml.Consume<Scalar>().Value;
            settings[name] = yaml.Accept<Scalar>(out var scalar) ? Resolve(scalar) : new object(); // no setting is a list or a mapping
            yaml.SkipThisAndNestedEvents();
        }

        var unknown = settings.Keys.Where(name => name != ServeIndexer && !Settings.ContainsKey(name)).Order(StringComparer.Ordinal);
        var names = string.Join(", ", unknown.Select(PythonText.Quote));
        return names.Length > 0 ? throw new ConfigurationException($"unknown router setting(s): [{names}]") : settings;
    }

    /// <summary>Null, bool, long, double or string; what only YAML 1.1 takes for a truth value is a <see cref="YamlWord"/>.</summary>
    private static object? Resolve(Scalar scalar)
    {
        var text = scalar.Value;
        if (scalar.Style != ScalarStyle.Plain)
        {
            return text;
        }

        return text switch
        {
            "" or "~" or "null" or "Null" or "NULL" => null,
            "true" or "True" or "TRUE" => true,
            "false" or "False" or "FALSE" => false,
            ".inf" or ".Inf" or ".INF" or "+.inf" => double.PositiveInfinity,
            "-.inf" or "-.Inf" or "-.INF" => double.NegativeInfinity,
            ".nan" or ".NaN" or ".NAN" => double.NaN,
            _ when Word().IsMatch(text) => new YamlWord(text),
            _ when Integer().IsMatch(text)
                    && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) => number,
            _ when Fraction().IsMatch(text) => double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture),
            _ => text,
        };
    }

    [GeneratedRegex(@"\A(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)\z")]
    private static partial Regex Word();

    [GeneratedRegex(@"\A[-+]?[0-9]+\z")]
    private static partial Regex Integer();

    [GeneratedRegex(@"\A[-+]?[0-9]*\.[0-9]+(?:[eE][-+][0-9]+)?\z")]
    private static partial Regex Fraction();

    private sealed record YamlWord(string Text);
}
