using System.Buffers.Binary;
using System.Security.Cryptography.X509Certificates;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Google.Protobuf;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>A small OTLP collector for metrics, spans and logs, over gRPC and HTTP, that behaves as it is told.</summary>
public sealed partial class OtlpReceiver : IAsyncDisposable
{
    private const string GrpcPath = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

    private readonly WebApplication _application;
    private readonly Lock _lock = new();
    private readonly List<OtlpExport> _exports = [];
    private readonly TaskCompletionSource _gone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _requests;

    private OtlpReceiver(WebApplication application, int grpcPort, int httpPort)
    {
        _application = application;
        Grpc = $"http://127.0.0.1:{grpcPort}";
        Http = $"http://127.0.0.1:{httpPort}";
    }

    public OtlpBehaviour Behaviour { get; set; }

    public string Grpc { get; }

    public string Http { get; }

    /// <summary>Requests that came, whatever became of them.</summary>
    public int Requests => Volatile.Read(ref _requests);

    /// <summary>What was accepted, in order.</summary>
    public IReadOnlyList<OtlpExport> Exports
    {
        get
        {
            lock (_lock)
            {
                return [.. _exports];
            }
        }
    }

    /// <param name="behaviour">From the start.</param>
    /// <param name="certificate">With it the gRPC port speaks TLS.</param>
    public static async Task<OtlpReceiver> StartAsync(OtlpBehaviour behaviour = OtlpBehaviour.Accepts, X509Certificate2? certificate = null)
    {
        var (grpc, http) = (FreePorts.Next(), FreePorts.Next());
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.ListenLocalhost(
                grpc,
                listen =>
                {
                    listen.Protocols = HttpProtocols.Http2;
                    if (certificate is not null)
                    {
                        listen.UseHttps(certificate);
                    }
                }
            );
            kestrel.ListenLocalhost(http, listen => listen.Protocols = HttpProtocols.Http1);
        });
        var application = builder.Build();
        var receiver = new OtlpReceiver(application, grpc, http) { Behaviour = behaviour };
        application.Run(receiver.AnswerAsync);
        await application.StartAsync();
        return receiver;
    }

    /// <summary>Waits for an export that has what is wanted.</summary>
    public async Task<OtlpExport> ExportAsync(Predicate<OtlpExport> wanted, TimeSpan limit)
    {
        OtlpExport? found = null;
        await Polling.UntilAsync(
            $"no such export among {Exports.Count}",
            limit,
            () => Task.FromResult((found = Exports.FirstOrDefault(export => wanted(export))) is not null)
        );
        return found!;
    }

    public async ValueTask DisposeAsync()
    {
        _gone.TrySetResult();
        await _application.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        Interlocked.Increment(ref _requests);
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        var isGrpc = context.Request.Path.Value is GrpcPath or GrpcSpansPath or GrpcLogsPath;
        var answer = new ExportMetricsServiceResponse();
        switch (Behaviour)
        {
            case OtlpBehaviour.Hangs:
                await Task.WhenAny(_gone.Task, Task.Delay(Timeout.Infinite, context.RequestAborted));
                return;
            case OtlpBehaviour.Redirects:
                context.Response.Redirect(Http + "/elsewhere");
                return;
            case OtlpBehaviour.Refuses when isGrpc:
                context.Response.Headers["grpc-status"] = "7";
                context.Response.Headers["grpc-message"] = "not you";
                context.Response.ContentType = "application/grpc";
                return;
            case OtlpBehaviour.Refuses:
                context.Response.StatusCode = StatusCodes.Status403Forbidden;
                return;
            case OtlpBehaviour.RejectsPoints:
                answer.PartialSuccess = new ExportMetricsPartialSuccess { RejectedDataPoints = 3, ErrorMessage = "too many" };
                break;
            case OtlpBehaviour.Floods:
                answer.PartialSuccess = new ExportMetricsPartialSuccess { ErrorMessage = new string('x', 8 << 20) };
                break;
            default:
                Keep(context, body.ToArray()[(isGrpc ? 5 : 0)..]); // a flag and the length
                break;
        }

        await WriteAsync(context, answer.ToByteArray(), isGrpc);
    }

    private void Keep(HttpContext context, byte[] request)
    {
        switch (context.Request.Path.Value)
        {
            case GrpcSpansPath or SpansPath:
                Keep(context, ExportTraceServiceRequest.Parser.ParseFrom(request));
                break;
            case GrpcLogsPath or LogsPath:
                Keep(context, ExportLogsServiceRequest.Parser.ParseFrom(request));
                break;
            default:
                Keep(context, ExportMetricsServiceRequest.Parser.ParseFrom(request));
                break;
        }
    }

    private static async Task WriteAsync(HttpContext context, byte[] answer, bool isGrpc)
    {
        context.Response.ContentType = isGrpc ? "application/grpc" : "application/x-protobuf";
        if (isGrpc)
        {
            var prefix = new byte[5];
            BinaryPrimitives.WriteInt32BigEndian(prefix.AsSpan(1), answer.Length);
            await context.Response.Body.WriteAsync(prefix);
        }

        await context.Response.Body.WriteAsync(answer);
        if (isGrpc)
        {
            context.Response.AppendTrailer("grpc-status", "0");
        }
    }

    private void Keep(HttpContext context, ExportMetricsServiceRequest request)
    {
        var resource = request.ResourceMetrics.Single();
        var scope = resource.ScopeMetrics.Single();
        var export = new OtlpExport(
            context.Request.Path,
            context.Request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase),
            Labels(resource.Resource.Attributes),
            $"{scope.Scope.Name} {scope.Scope.Version}",
            scope.Metrics.Select(Family).ToDictionary(family => family.Name)
        );
        lock (_lock)
        {
            _exports.Add(export);
        }
    }

    private static OtlpFamily Family(Metric metric)
    {
        var (kind, series) = metric.DataCase switch
        {
            Metric.DataOneofCase.Sum => (
                $"Sum {metric.Sum.AggregationTemporality} {metric.Sum.IsMonotonic}",
                metric.Sum.DataPoints.Select(Number)
            ),
            Metric.DataOneofCase.Histogram => (
                $"Histogram {metric.Histogram.AggregationTemporality}",
                metric.Histogram.DataPoints.Select(point => new OtlpSeries(
                    Labels(point.Attributes),
                    point.StartTimeUnixNano,
                    point.Sum,
                    point.Count,
                    [.. point.ExplicitBounds],
                    [.. point.BucketCounts]
                ))
            ),
            Metric.DataOneofCase.Gauge => ("Gauge", metric.Gauge.DataPoints.Select(Number)),
            _ => throw new InvalidDataException($"{metric.Name}: {metric.DataCase}"),
        };
        return new OtlpFamily(metric.Name, kind, metric.Description, Labels(metric.Metadata), [.. series]);
    }

    private static OtlpSeries Number(NumberDataPoint point) =>
        new(Labels(point.Attributes), point.StartTimeUnixNano, point.AsDouble, 0, [], []);

    private static List<string> Labels(IEnumerable<KeyValue> attributes) =>
        [.. attributes.Select(attribute => $"{attribute.Key}={attribute.Value.StringValue}")];
}
