using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Protocol.Nats;

/// <summary>What a worker answers to <c>$SRV.PING</c>, <c>$SRV.INFO</c> and <c>$SRV.STATS</c> (NATS ADR-32).</summary>
/// <remarks>
/// Only tools ask for it; callers route by discovery. Field order is the reference's, so that answers are equal byte for byte.
/// Golden file: tests/golden/runtime/nats_micro_service.txt.
/// </remarks>
public sealed record MicroService(string Namespace, string Component, string Id, DateTime Started)
{
    /// <summary>The release whose behaviour this worker has.</summary>
    public const string Version = "1.6.1";

    /// <summary>All workers share it, though each has a subject of its own.</summary>
    public const string QueueGroup = "q";

    private const string TypePrefix = "io.nats.micro.v1.";

    public string Name { get; } = Slug.Of($"{Namespace}_{Component}");

    public string EndpointName(EndpointId endpoint, InstanceId instance) => $"{Name}-{endpoint.Name}-{instance.Hex}";

    public byte[] Ping() =>
        Write(
            "ping_response",
            json =>
            {
                json.WriteString("version"u8, Version);
                WriteMetadata(json);
            }
        );

    public byte[] Info(IEnumerable<MicroServiceEndpoint> endpoints) =>
        Write(
            "info_response",
            json =>
            {
                json.WriteString("description"u8, $"Dynamo component {Component} in namespace {Namespace}");
                json.WriteString("version"u8, Version);
                WriteMetadata(json);
                json.WriteStartArray("endpoints"u8);
                foreach (var endpoint in endpoints)
                {
                    json.WriteStartObject();
                    json.WriteString("name"u8, endpoint.Name);
                    json.WriteString("subject"u8, endpoint.Subject);
                    json.WriteString("queue_group"u8, QueueGroup);
                    WriteMetadata(json);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            }
        );

    public byte[] Stats(IEnumerable<MicroServiceEndpoint> endpoints) =>
        Write(
            "stats_response",
            json =>
            {
                json.WriteString("version"u8, Version);
                // Nanoseconds by their digits; the clock has steps of a hundred.
                json.WriteString("started"u8, Started.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'00Z'", CultureInfo.InvariantCulture));
                json.WriteStartArray("endpoints"u8);
                foreach (var endpoint in endpoints)
                {
                    json.WriteStartObject();
                    json.WriteString("name"u8, endpoint.Name);
                    json.WriteString("subject"u8, endpoint.Subject);
                    json.WriteNumber("num_requests"u8, endpoint.Requests);
                    json.WriteNumber("num_errors"u8, endpoint.Errors);
                    json.WriteNumber("processing_time"u8, endpoint.ProcessingNanoseconds);
                    json.WriteNumber(
                        "average_processing_time"u8,
                        endpoint.Requests == 0 ? 0 : endpoint.ProcessingNanoseconds / endpoint.Requests
                    );
                    json.WriteString("last_error"u8, endpoint.LastError);
                    json.WriteString("queue_group"u8, QueueGroup);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            }
        );

    private static void WriteMetadata(Utf8JsonWriter json)
    {
        json.WriteStartObject("metadata"u8);
        json.WriteEndObject();
    }

    private byte[] Write(string type, Action<Utf8JsonWriter> rest)
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("type"u8, TypePrefix + type);
            json.WriteString("name"u8, Name);
            json.WriteString("id"u8, Id);
            rest(json);
            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }
}

/// <summary>Counts of one endpoint of the service, as of now.</summary>
/// <param name="ProcessingNanoseconds">Time spent until requests were acknowledged, not until they were answered.</param>
public sealed record MicroServiceEndpoint(
    string Name,
    string Subject,
    long Requests = 0,
    long Errors = 0,
    long ProcessingNanoseconds = 0,
    string LastError = ""
);
