using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Transports.Tcp;

namespace Dynamo.Vllm.IntegrationTests;

/// <summary>What takes requests from a plane under test and answers over TCP.</summary>
internal static class Dispatchers
{
    public static RequestDispatcher Create(LogCapture log, IConnectionSecurity? security = null, AdmissionLimits? limits = null) =>
        new(
            new TcpCallHomeDialer(security ?? new PlainConnections(), TimeProvider.System, log.For<TcpCallHomeDialer>()),
            limits ?? new AdmissionLimits(),
            new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "1").Dispatcher,
            TimeProvider.System,
            log.For<RequestDispatcher>()
        );
}
