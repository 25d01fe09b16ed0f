using System.Globalization;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Reads which port NIXL's own Prometheus exporter will take, with NIXL's syntax rather than Python's.</summary>
internal static class NixlTelemetryPort
{
    public const string PortVariable = "NIXL_TELEMETRY_PROMETHEUS_PORT";

    private const string EnableVariable = "NIXL_TELEMETRY_ENABLE";
    private const int DefaultPort = 9090;
    private const int PortMax = 65535;

    /// <summary>Null when the environment does not select that exporter.</summary>
    /// <exception cref="ConfigurationException">A value that NIXL itself would refuse later.</exception>
    public static long? Read(IReadOnlyDictionary<string, string> environment)
    {
        if (!environment.TryGetValue(EnableVariable, out var enable))
        {
            return null;
        }

        var enabled = enable.ToLowerInvariant() switch
        {
            "y" or "1" or "yes" or "on" or "true" or "enable" => true,
            "n" or "0" or "no" or "off" or "false" or "disable" => false,
            _ => throw new ConfigurationException($"{EnableVariable}={PythonText.Quote(enable)} is not a boolean value recognized by NIXL"),
        };
        if (!enabled || environment.GetValueOrDefault("NIXL_TELEMETRY_EXPORTER") != "prometheus")
        {
            return null;
        }

        if (!environment.TryGetValue(PortVariable, out var text))
        {
            return DefaultPort;
        }

        var isHex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        var digits = isHex ? text[2..] : text;
        if (digits.Length == 0 || !digits.All(isHex ? char.IsAsciiHexDigit : char.IsAsciiDigit))
        {
            throw new ConfigurationException($"{PortVariable}={PythonText.Quote(text)} is not a valid unsigned 16-bit integer");
        }

        var style = isHex ? NumberStyles.AllowHexSpecifier : NumberStyles.None;
        if (!long.TryParse(digits, style, CultureInfo.InvariantCulture, out var port) || port is < 0 or > PortMax)
        {
            throw new ConfigurationException($"{PortVariable}={PythonText.Quote(text)} is outside the range 0-{PortMax}");
        }

        return port == 0
            ? throw new ConfigurationException(
                $"{PortVariable}=0 asks NIXL for an ephemeral port, which Dynamo cannot declare or configure as a scrape target. "
                    + $"Set a fixed port between 1 and {PortMax}."
            )
            : port;
    }
}
