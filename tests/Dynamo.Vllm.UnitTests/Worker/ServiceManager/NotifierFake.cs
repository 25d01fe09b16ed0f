using Microsoft.Extensions.Hosting.Systemd;

namespace Dynamo.Vllm.UnitTests.Worker.ServiceManager;

/// <summary>A notifier that writes down what it is told.</summary>
internal sealed class NotifierFake : ISystemdNotifier
{
    private readonly Lock _lock = new();
    private readonly List<string> _messages = [];

    public bool IsEnabled { get; init; } = true;

    public IReadOnlyList<string> Messages
    {
        get
        {
            lock (_lock)
            {
                return [.. _messages];
            }
        }
    }

    public void Notify(ServiceState state)
    {
        lock (_lock)
        {
            _messages.Add(state.ToString());
        }
    }

    public void Forget()
    {
        lock (_lock)
        {
            _messages.Clear();
        }
    }
}
