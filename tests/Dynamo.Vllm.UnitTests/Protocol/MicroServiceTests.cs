using System.Text;
using Dynamo.Vllm.Protocol.Nats;

namespace Dynamo.Vllm.UnitTests.Protocol;

using Dynamo.Vllm.Testing;

public sealed class MicroServiceTests
{
    private const string Id = "jtuDaEGxoumCW5HAZtqLJx";

    private static readonly MicroService Service = new(
        "p1ns",
        "backend",
        Id,
        new DateTime(2026, 11, 22, 12, 58, 46, DateTimeKind.Utc).AddTicks(5577740)
    );

    private static readonly MicroServiceEndpoint[] Endpoints =
    [
        new(
            "p1ns_backend-worker_kv_query_source_c75dbc77dab84-12c8a2035590d12c",
            "p1ns_backend.worker_kv_query_source_c75dbc77dab84-12c8a2035590d12c"
        ),
        new("p1ns_backend-generate-12c8a2035590d12c", "p1ns_backend.generate-12c8a2035590d12c", Requests: 1, ProcessingNanoseconds: 98808),
    ];

    [Fact]
    public void Ping_equals_the_capture_byte_for_byte() => Assert.Equal(Captured("$SRV.PING "), Encoding.UTF8.GetString(Service.Ping()));

    [Fact]
    public void Info_equals_the_capture_byte_for_byte() =>
        Assert.Equal(Captured("$SRV.INFO "), Encoding.UTF8.GetString(Service.Info(Endpoints)));

    [Fact]
    public void Stats_equal_the_capture_except_for_the_digits_below_the_clock() =>
        Assert.Equal(
            Captured("$SRV.STATS ").Replace("46.557774081Z", "46.557774000Z", StringComparison.Ordinal),
            Encoding.UTF8.GetString(Service.Stats(Endpoints))
        );

    [Fact]
    public void The_average_is_whole_nanoseconds_for_each_request()
    {
        var stats = Encoding.UTF8.GetString(
            Service.Stats([new("n", "s", Requests: 3, Errors: 1, ProcessingNanoseconds: 100, LastError: "x \"y\"")])
        );
        Assert.Contains(
            "\"num_errors\":1,\"processing_time\":100,\"average_processing_time\":33,\"last_error\":\"x \\u0022y\\u0022\"",
            stats,
            StringComparison.Ordinal
        );
    }

    private static string Captured(string question) =>
        Golden
            .Text("runtime/nats_micro_service.txt")
            .Split('\n')
            .First(line => line.StartsWith(question, StringComparison.Ordinal) && line.Contains(Id, StringComparison.Ordinal))[
            question.Length..
        ];
}
