import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Random;

/**
 * A server-like Java program for the garbage collector: a large cache that changes slowly, a window
 * of recent requests, and many objects that die at once.
 *
 * Usage: java -Xms256m -Xmx256m src/Churn.java REQUESTS_PER_SECOND
 */
public final class Churn {
    private static final int CACHE = 100_000;
    private static final int WINDOW = 5_000;

    private static byte[] work(Random draw) {
        byte[] last = new byte[0];
        for (int i = 0; i < 20; i++) {
            last = new byte[64 + draw.nextInt(512)];
            last[0] = (byte) i;
        }
        return last;
    }

    public static void main(String[] arguments) throws InterruptedException {
        double rate = Double.parseDouble(arguments[0]);
        Random draw = new Random(1);
        HashMap<Integer, byte[]> cache = new HashMap<>();
        ArrayDeque<byte[]> recent = new ArrayDeque<>();
        for (int i = 0; i < CACHE; i++) {
            cache.put(i, new byte[1000]);
        }
        System.out.println("ready");
        long start = System.nanoTime();
        long done = 0;
        while (true) {
            long want = (long) ((System.nanoTime() - start) * 1e-9 * rate);
            for (; done < want; done++) {
                recent.addLast(work(draw));
                if (recent.size() > WINDOW) {
                    recent.removeFirst();
                }
                if (done % 20 == 0) {
                    cache.put(draw.nextInt(CACHE), new byte[1000]);
                }
            }
            Thread.sleep(5);
        }
    }
}
