using Dynamo.Vllm.Core.Health.Stalls;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>The activity of everything that vLLM started under this process, out of /proc.</summary>
public sealed class EngineProcessActivity : IEngineActivitySource
{
    /// <summary>vLLM names its processes like this; what has another name was started by one of them, or helps Python.</summary>
    private const string EngineNamePrefix = "VLLM::";

    private readonly GpuActivity? _gpu;
    private readonly bool _isLocal;

    /// <param name="isLocal">All of the engine's processes are on this host.
    /// If not, those that are here say nothing about the engine.</param>
    /// <param name="gpu">The devices it uses, where they can be read.</param>
    public EngineProcessActivity(bool isLocal, GpuActivity? gpu)
    {
        _isLocal = isLocal;
        _gpu = gpu;
    }

    public EngineActivity? Read()
    {
        if (!_isLocal)
        {
            return null;
        }

        var (isStopped, isRunnable, hasEngine) = (false, false, false);
        var (engine, helpers) = (TimeSpan.Zero, TimeSpan.Zero);
        foreach (var entry in ProcessTable.Below(Environment.ProcessId))
        {
            if (entry.Name.StartsWith(EngineNamePrefix, StringComparison.Ordinal))
            {
                hasEngine = true;
                isStopped |= entry.IsStopped;
                engine += entry.Cpu;
            }
            else
            {
                helpers += entry.Cpu;
            }

            isRunnable |= !isStopped && ProcessTable.HasRunnableThread(entry.Id);
        }

        return hasEngine ? new EngineActivity(isStopped, isRunnable, engine, helpers, _gpu?.IsBusy()) : null;
    }
}
