using System.Globalization;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Worker.ServiceManager;
using Microsoft.Extensions.Hosting.Systemd;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.ServiceManager;

/// <summary>Against a real socket, through the framework's own notifier.</summary>
public sealed class NotifyQueueTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <summary>The notifier reads its address from the environment of the process, which others here must not see meanwhile.</summary>
    private static readonly Lock Environments = new();

    [Fact]
    public async Task What_is_said_arrives_in_its_order()
    {
        using var socket = new NotifySocket();
        using var queue = Create(socket.Path);

        queue.Notify(new ServiceState("STATUS=Starting"));
        queue.Notify(ServiceState.Ready);
        queue.Notify(ServiceState.Stopping);

        await socket.MessageAsync(message => message == "STOPPING=1", Limit);
        Assert.Equal(["STATUS=Starting", "READY=1", "STOPPING=1"], socket.Messages);
    }

    [Fact]
    public async Task A_manager_that_does_not_read_holds_nobody_up_and_gets_the_last_word_of_each_kind_later()
    {
        using var socket = new NotifySocket(isRead: false);
        using var queue = Create(socket.Path);

        for (var i = 0; i < 10_000; i++) // the kernel keeps a few hundred at most
        {
            queue.Notify(new ServiceState(string.Create(CultureInfo.InvariantCulture, $"STATUS={i}")));
            queue.Notify(new ServiceState("WATCHDOG=1"));
        }

        queue.Notify(ServiceState.Stopping);
        socket.Read();
        await socket.MessageAsync(message => message == "STOPPING=1", Limit);
        Assert.Equal("STATUS=9999", socket.Messages.Last(message => message.StartsWith("STATUS", StringComparison.Ordinal)));
        Assert.InRange(socket.Messages.Count, 3, 10_000);
    }

    [Fact]
    public void A_full_queue_drops_the_oldest()
    {
        using var stuck = new StuckNotifier();
        using var queue = new NotifyQueue(stuck, NullLogger<NotifyQueue>.Instance);
        queue.Notify(new ServiceState("FIRST=1"));
        Assert.True(stuck.Entered.Wait(Limit));

        for (var i = 0; i < NotifyQueue.MessagesMax + 5; i++)
        {
            queue.Notify(new ServiceState(string.Create(CultureInfo.InvariantCulture, $"N={i}")));
        }

        stuck.Release();
        queue.Dispose();
        Assert.Equal(1 + NotifyQueue.MessagesMax, stuck.Messages.Count);
        Assert.Equal("N=5", stuck.Messages[1]);
    }

    [Fact]
    public void A_socket_that_is_gone_is_said_once()
    {
        using var folder = new TemporaryFolder();
        var logs = new LogCapture();
        using (var queue = Create(Path.Combine(folder.Path, "nobody"), logs))
        {
            queue.Notify(ServiceState.Ready);
            queue.Notify(ServiceState.Stopping);
        }

        Assert.Contains("cannot be told", Assert.Single(logs.Lines).Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_manager_nothing_is_sent()
    {
        var nobody = new NotifierFake { IsEnabled = false };
        using var queue = new NotifyQueue(nobody, NullLogger<NotifyQueue>.Instance);
        queue.Notify(ServiceState.Ready);
        queue.Dispose();
        Assert.False(queue.IsEnabled);
        Assert.Empty(nobody.Messages);
    }

    private static NotifyQueue Create(string path, LogCapture? logs = null)
    {
        lock (Environments)
        {
            Environment.SetEnvironmentVariable("NOTIFY_SOCKET", path);
            try
            {
                return new NotifyQueue(new SystemdNotifier(), logs is null ? NullLogger<NotifyQueue>.Instance : logs.For<NotifyQueue>());
            }
            finally
            {
                Environment.SetEnvironmentVariable("NOTIFY_SOCKET", null);
            }
        }
    }

    /// <summary>Waits in its first call until it is released.</summary>
    private sealed class StuckNotifier : ISystemdNotifier, IDisposable
    {
        private readonly ManualResetEventSlim _released = new();

        public ManualResetEventSlim Entered { get; } = new();

        public List<string> Messages { get; } = [];

        public bool IsEnabled => true;

        public void Notify(ServiceState state)
        {
            Entered.Set();
            _released.Wait();
            Messages.Add(state.ToString());
        }

        public void Release() => _released.Set();

        public void Dispose()
        {
            _released.Dispose();
            Entered.Dispose();
        }
    }
}
