using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Discovery;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>Joins the store as a worker does, reads what is in it, compares clocks, and leaves again.</summary>
internal sealed class DiscoveryCheck(WorkerSettings settings)
{
    /// <summary>Records live for 10 s (files) or 30 s (leases) without a renewal; half of the shorter is still harmless.</summary>
    private static readonly TimeSpan SkewMax = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(1);

    /// <summary>Instances that are tried, and records that are named.</summary>
    private const int TriedMax = 64;

    private const int NamedMax = 16;

    public async Task LookAsync(Findings findings, CancellationToken cancellationToken)
    {
        var factory = new PlaneFactory(
            settings.Planes,
            settings.Runtime,
            settings.Environment,
            ConnectionCaps.Unlimited,
            TimeProvider.System,
            NullLoggerFactory.Instance
        );
        await using var ownedFactory = factory.ConfigureAwait(false);
        var store = factory.CreateVisitor(PlanesCheck.Patience);
        await using var ownedStore = store.ConfigureAwait(false);
        try
        {
            var started = Stopwatch.GetTimestamp();
            await store.JoinAsync(cancellationToken).ConfigureAwait(false);
            findings.Ok($"{store.Name}: joined{Place()} in {PlanesCheck.Milliseconds(Stopwatch.GetElapsedTime(started))}");
        }
        catch (Exception exception) when (exception is InvalidOperationException or IOException)
        {
            findings.Problem(exception.Message, "start the store, or correct its variables (docs/configuration.md); firewalls, rights?");
            return;
        }

        try
        {
            await LookAtClockAsync(findings, store, cancellationToken).ConfigureAwait(false);
            await LookAtRecordsAsync(findings, store, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            await store.LeaveAsync(CancellationToken.None).WaitAsync(PlanesCheck.Patience, CancellationToken.None).ConfigureAwait(false);
        }
    }

    private string Place() => settings.Planes.Discovery == DiscoveryBackend.File ? $" {settings.Runtime.FileStoreRoot}" : "";

    private async Task LookAtClockAsync(Findings findings, IDiscovery store, CancellationToken cancellationToken)
    {
        DateTimeOffset? clock;
        try
        {
            clock = await store.ReadClockAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (IOException exception)
        {
            findings.Warning($"the clock of {store.Name} cannot be read: {exception.Message}", "it may be off: compare by hand");
            return;
        }

        if (clock is not { } theirs)
        {
            findings.Ok($"{store.Name} does not tell its clock");
            return;
        }

        var skew = theirs - DateTimeOffset.UtcNow;
        var ahead = settings.Planes.Discovery == DiscoveryBackend.File ? ReadOverdue(findings) : TimeSpan.Zero;
        if (skew.Duration() > SkewMax || ahead > SkewMax)
        {
            findings.Problem(
                string.Create(CultureInfo.InvariantCulture, $"clocks differ: that of the store by {skew.TotalSeconds:0.0} s, ")
                    + string.Create(CultureInfo.InvariantCulture, $"the newest record is {ahead.TotalSeconds:0.0} s ahead of this host"),
                "have all hosts keep time (chrony, ntpd): workers of a file store remove each other's records, and logs do not line up"
            );
        }
        else
        {
            findings.Ok(string.Create(CultureInfo.InvariantCulture, $"the clock of {store.Name} and ours agree to {Exactness()}"));
        }
    }

    /// <summary>An HTTP date is cut to the second, and the answer takes its time.</summary>
    private string Exactness() => settings.Planes.Discovery == DiscoveryBackend.File ? "5 s" : "5 s (it tells whole seconds)";

    private TimeSpan ReadOverdue(Findings findings)
    {
        var overdue = OverdueRecords.Read(settings.Runtime.FileStoreRoot, DateTimeOffset.UtcNow);
        if (overdue.Expired.Count > 0)
        {
            findings.Warning(
                $"{overdue.Expired.Count} records whose processes are gone, or stand still: "
                    + string.Join(", ", overdue.Expired.Take(NamedMax).Select(Path.GetFileName)),
                "the next worker in that store removes them; nobody believes them until then"
            );
        }

        return overdue.Ahead;
    }

    private static async Task LookAtRecordsAsync(Findings findings, IDiscovery store, CancellationToken cancellationToken)
    {
        IReadOnlyList<JsonObject> instances;
        IReadOnlyList<JsonObject> cards;
        var started = Stopwatch.GetTimestamp();
        try
        {
            instances = await store.ListAsync(DiscoveryRecord.Instances, "", cancellationToken).ConfigureAwait(false);
            cards = await store.ListAsync(DiscoveryRecord.ModelCards, "", cancellationToken).ConfigureAwait(false);
        }
        catch (IOException exception) when (store.Name == "kubernetes")
        {
            findings.Ok($"what others have registered is not shown, and a worker need not see it: {exception.Message}");
            return;
        }

        var took = PlanesCheck.Milliseconds(Stopwatch.GetElapsedTime(started));
        findings.Ok($"{instances.Count} endpoints and {cards.Count} model cards are registered; read in {took}");
        foreach (var card in cards.Take(NamedMax))
        {
            findings.Ok($"model {(string?)card["card_json"]?["display_name"]} of {IdOf(card)}");
        }

        foreach (var group in cards.GroupBy(PlaceOf).Where(HasSeveralChecksums))
        {
            findings.Problem(
                $"{group.Key}: {group.Count()} cards with different checksums",
                "frontends use the first one and give the others no traffic: start all workers of a model with the same options"
            );
        }

        await Task.WhenAll(
                instances
                    .GroupBy(AddressOf, StringComparer.Ordinal)
                    .Take(TriedMax)
                    .Select(group => TryAsync(findings, group.Key, string.Join(", ", group.Select(IdOf)), cancellationToken))
            )
            .ConfigureAwait(false);
    }

    private static bool HasSeveralChecksums(IEnumerable<JsonObject> cards) =>
        cards
            .Select(card => card["card_json"])
            .OfType<JsonObject>()
            .Select(ModelCardChecksum.Compute)
            .Distinct(StringComparer.Ordinal)
            .Skip(1)
            .Any();

    private static async Task TryAsync(Findings findings, string address, string endpoints, CancellationToken cancellationToken)
    {
        if (!IPEndPoint.TryParse(address, out var target))
        {
            findings.Ok($"{endpoints} at {address}");
            return;
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(ConnectLimit);
        try
        {
            var took = await PlanesCheck.ConnectAsync(target, limit.Token).ConfigureAwait(false);
            findings.Ok($"{target} connects in {PlanesCheck.Milliseconds(took)}: {endpoints}");
        }
        catch (Exception exception) when (exception is SocketException or OperationCanceledException)
        {
            findings.Warning(
                $"{target} is registered, and cannot be connected to: {exception.Message}; {endpoints}",
                "its process is gone and the records about to expire, or the network between does not let us through"
            );
        }
    }

    /// <summary>Without the path that each request names. A subject of NATS is one line for all: there is nothing to connect to.</summary>
    private static string AddressOf(JsonObject instance) =>
        (string?)instance["transport"]?["tcp"] is { } address
            ? address.Split('/')[0]
            : (instance["transport"] as JsonObject)?.FirstOrDefault().Key ?? "no transport";

    private static string PlaceOf(JsonObject record) =>
        string.Join(
            '.',
            new[] { "namespace", "component", "endpoint", "model_suffix" }.Select(name => (string?)record[name]).OfType<string>()
        );

    private static string IdOf(JsonObject record) => $"{PlaceOf(record)} ({(ulong?)record["instance_id"] ?? 0:x})";
}
