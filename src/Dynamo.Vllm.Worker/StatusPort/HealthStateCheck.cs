using Dynamo.Vllm.Core.Health;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>One question to <see cref="HealthState"/>, for ASP.NET's health checks. Never waits.</summary>
internal sealed class HealthStateCheck : IHealthCheck
{
    private readonly HealthState _health;
    private readonly Func<HealthState, bool> _isOk;

    public HealthStateCheck(HealthState health, Func<HealthState, bool> isOk)
    {
        _health = health;
        _isOk = isOk;
    }

    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(_isOk(_health) ? HealthCheckResult.Healthy() : HealthCheckResult.Unhealthy());
}
