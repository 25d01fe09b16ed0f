using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Python.Platform;

/// <summary>What .NET has no form of for the signals that a process is born with.</summary>
public static class Signals
{
    /// <summary>Numbers of Linux on every architecture that .NET runs on.</summary>
    private const int Hangup = 1;
    private const int Interrupt = 2;
    private const int Termination = 15;

    /// <summary>SIGRTMIN+5 of glibc. .NET itself uses SIGRTMIN; SIGHUP and SIGUSR1 and 2 mean to this worker what they mean to the
    /// reference.</summary>
    private const int RealTimeReload = 34 + 5;

    /// <summary>Room for <c>struct sigaction</c> of any architecture; the handler is its first member.</summary>
    private const int ActionBytes = 512;

    /// <summary>Asks a process of ours to end; nothing if it has ended.</summary>
    public static void Terminate(int process) => _ = NativeLibc.Kill(process, Termination);

    /// <summary>Lets the signals that ask for a stop reach this process, also when whoever started it ignored them.</summary>
    /// <remarks>
    /// A shell without job control starts what ends in <c>&amp;</c> with SIGINT ignored, and .NET
    /// leaves an ignored signal alone, so that the worker would never hear of it. Before anything
    /// registers for a signal. SIGHUP stays as it is: to ignore it is what <c>nohup</c> is for.
    /// </remarks>
    public static void AcceptStopRequests()
    {
        foreach (var signal in (ReadOnlySpan<int>)[Interrupt, Termination])
        {
            if (IsIgnored(signal))
            {
                _ = NativeLibc.Signal(signal, NativeLibc.SignalDefault);
            }
        }
    }

    /// <summary>Calls back on each SIGHUP, which then does not end the
    /// process; null where whoever started it wants SIGHUP ignored.</summary>
    public static IDisposable? OnHangup(Action hangup) =>
        IsIgnored(Hangup)
            ? null
            : PosixSignalRegistration.Create(
                PosixSignal.SIGHUP,
                context =>
                {
                    context.Cancel = true;
                    hangup();
                }
            );

    /// <summary>Calls back on each SIGRTMIN+5, which then does not end the process.</summary>
    public static IDisposable OnReload(Action reload) =>
        PosixSignalRegistration.Create(
            (PosixSignal)RealTimeReload,
            context =>
            {
                context.Cancel = true;
                reload();
            }
        );

    private static bool IsIgnored(int signal)
    {
        Span<byte> action = stackalloc byte[ActionBytes];
        return NativeLibc.GetSignalAction(signal, 0, action) == 0 && MemoryMarshal.Read<nint>(action) == NativeLibc.SignalIgnored;
    }
}
