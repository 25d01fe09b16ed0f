using System.Runtime.InteropServices;
using System.Text;
using Dynamo.Vllm.Python.Platform;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>stdout and stderr of this process and of the engine's, so that a reader
/// who stops reading stops none of them (docs/threading.md, "Output").</summary>
/// <remarks>
/// Descriptor 1 and <see cref="ErrorDescriptor"/> become pipes that are always read. Descriptor 2 stays the real one, since the last words
/// of a crash would be lost in a pipe whose reader dies with them; where the system allows it, writing to it fails instead of waiting.
/// </remarks>
internal sealed class StandardOutputs : IDisposable
{
    /// <summary>For what is left at the exit: nobody may be reading, and a supervisor waits for the end.</summary>
    private static readonly TimeSpan FlushTimeLimit = TimeSpan.FromSeconds(1);

    private readonly SafeHandle _realOutput = Descriptors.Duplicate(Descriptors.StandardOutput);
    private readonly SafeHandle _realError = Descriptors.Duplicate(Descriptors.StandardError);
    private readonly OutputWriter _output;
    private readonly OutputPump _outputPump;
    private readonly OutputPump _errorPump;

    private StandardOutputs()
    {
        _output = new OutputWriter("stdout", text => Descriptors.Write(_realOutput, text.Span));
        Error = new OutputWriter("stderr", text => Descriptors.Write(_realError, text.Span));
        _outputPump = new OutputPump("stdout-pump", _output);
        _errorPump = new OutputPump("stderr-pump", Error);
    }

    public OutputWriter Error { get; }

    /// <summary>The pipe that stands for stderr of Python and of the engine's processes.</summary>
    public int ErrorDescriptor => (int)_errorPump.WriteEnd.DangerousGetHandle();

    public long DroppedLines => _output.DroppedLines + Error.DroppedLines;

    /// <summary>Takes the descriptors over. Before the interpreter starts, and one at a time.</summary>
    public static StandardOutputs Redirect()
    {
        var outputs = new StandardOutputs();
        Descriptors.Replace(Descriptors.StandardOutput, outputs._outputPump.WriteEnd);
        Descriptors.TryMakeNonBlocking(Descriptors.StandardError);
        AppDomain.CurrentDomain.UnhandledException += outputs.FlushBeforeCrash;
        return outputs;
    }

    /// <summary>How both say that lines were dropped.</summary>
    public void SetNotice(Func<long, byte[]> notice) => _output.Notice = Error.Notice = notice;

    /// <summary>Shows each line of this process and of the engine's to somebody who must neither wait nor throw; null ends it.</summary>
    public void Show(Action<string>? take)
    {
        _outputPump.Show(take);
        _errorPump.Show(take);
    }

    public void WriteError(string text) => Error.TryWrite(Encoding.UTF8.GetBytes(text));

    /// <summary>Gives descriptor 1 back and waits, within a second, until what was written has been read.</summary>
    public void Dispose()
    {
        AppDomain.CurrentDomain.UnhandledException -= FlushBeforeCrash;
        Descriptors.Replace(Descriptors.StandardOutput, _realOutput);
        Flush();
        _output.Dispose();
        Error.Dispose();
    }

    private void Flush()
    {
        var started = TimeProvider.System.GetTimestamp();
        _outputPump.Drain();
        _errorPump.Drain();
        Error.Flush(FlushTimeLimit);
        var left = FlushTimeLimit - TimeProvider.System.GetElapsedTime(started);
        _output.Flush(left > TimeSpan.Zero ? left : TimeSpan.Zero);
    }

    private void FlushBeforeCrash(object sender, UnhandledExceptionEventArgs arguments) => Flush();
}
