using System.Globalization;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>Where this worker stands in the cluster, as its card publishes it (behaviour.md, 3).</summary>
internal sealed record TopologyFacts
{
    public static readonly TopologyFacts None = new();

    public IReadOnlyDictionary<string, string> Domains { get; init; } = new Dictionary<string, string>();

    public string? TransferDomain { get; init; }

    public string? Enforcement { get; init; }

    public float? PreferredWeight { get; init; }

    public IEnumerable<string> Taints => Domains.Select(pair => $"dynamo.topology/{pair.Key}={pair.Value}");

    /// <summary>Reads the mounted files; waits up to 30 s for the one that names the transfer domain.</summary>
    /// <exception cref="ConfigurationException">It did not come, or the weight is wrong.</exception>
    public static async Task<TopologyFacts> ReadAsync(
        TopologyEnvironment environment,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        if (!environment.Enabled)
        {
            return None;
        }

        var domains = Read(environment.MountPath);
        for (var tries = 0; !domains.ContainsKey(environment.TransferDomain!); tries++)
        {
            if (tries == 30)
            {
                throw new ConfigurationException(
                    $"topology domain '{environment.TransferDomain}' did not appear in {environment.MountPath} within 30 s "
                        + $"(DYN_KV_TRANSFER_DOMAIN, DYN_TOPOLOGY_MOUNT_PATH)"
                );
            }

            await Task.Delay(TimeSpan.FromSeconds(1), time, cancellationToken).ConfigureAwait(false);
            domains = Read(environment.MountPath);
        }

        return new TopologyFacts
        {
            Domains = domains,
            TransferDomain = environment.TransferDomain,
            Enforcement = environment.TransferEnforcement,
            PreferredWeight = environment.TransferEnforcement == "preferred" ? Weight(environment.PreferredWeight) : null,
        };
    }

    private static float? Weight(string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        return double.TryParse(text, CultureInfo.InvariantCulture, out var weight) && weight is >= 0 and <= 1
            ? (float)weight
            : throw new ConfigurationException($"DYN_KV_TRANSFER_PREFERRED_WEIGHT={text}: expected a number from 0 to 1");
    }

    private static Dictionary<string, string> Read(string folder)
    {
        var domains = new Dictionary<string, string>(StringComparer.Ordinal);
        if (!Directory.Exists(folder))
        {
            return domains;
        }

        foreach (
            var path in Directory.GetFiles(folder).Order(StringComparer.Ordinal).Where(path => !Path.GetFileName(path).StartsWith('.'))
        )
        {
            var value = File.ReadAllText(path).Trim();
            if (value.Length > 0)
            {
                domains[Path.GetFileName(path)] = value;
            }
        }

        return domains;
    }
}
