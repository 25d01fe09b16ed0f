using Microsoft.Extensions.Hosting;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>Where any part says that the worker cannot go on. The first reason counts. Thread-safe.</summary>
internal sealed class WorkerLifetime
{
    private readonly IHostApplicationLifetime _host;
    private string? _fatal;

    public WorkerLifetime(IHostApplicationLifetime host) => _host = host;

    /// <summary>Why the worker cannot go on, or null.</summary>
    public string? Fatal => Volatile.Read(ref _fatal);

    /// <summary>Cancelled by a signal, and by <see cref="Fail"/>.</summary>
    public CancellationToken Stopping => _host.ApplicationStopping;

    public void Fail(string reason)
    {
        if (Interlocked.CompareExchange(ref _fatal, reason, null) is null)
        {
            _host.StopApplication();
        }
    }
}
