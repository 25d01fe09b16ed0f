using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Python.Platform;

/// <summary>Looks into a libpython without keeping it.</summary>
internal static unsafe class SharedLibrary
{
    /// <summary>What <c>Py_GetVersion()</c> of the library says, or null if it cannot be loaded.</summary>
    public static string? PythonVersionOf(string path)
    {
        var handle = NativeLibc.DlOpen(path, NativeLibc.RtldLazy);
        if (handle == 0)
        {
            return null;
        }

        var getVersion = (delegate* unmanaged[Cdecl]<nint>)NativeLibc.DlSym(handle, "Py_GetVersion");
        var version = getVersion is null ? null : Marshal.PtrToStringUTF8(getVersion());
        NativeLibc.DlClose(handle);
        return version;
    }
}
